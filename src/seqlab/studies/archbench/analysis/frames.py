"""What the analyses share with tables and figures: runs as a wide table, and names of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqlab.errors import UserError
from seqlab.studies.archbench.tasks_spec import TRAINED

# Accuracy above the floor, as a share of what is above it.
CORRECTED = "corrected"
SOLVERS = ("floor", "ceiling", "greedy", "alone")
# Accuracy minus that of a solver.
ABOVE_GREEDY, ABOVE_ALONE = "above_greedy", "above_alone"
# What was cut at this scale; an overlay of the settings runs it.
NOT_RUN = {
    "provenance": "not_run",
    "n": 0,
    "verdict": "not_run",
    "reason": "laptop budget; an overlay that adds it to the settings runs it",
}
GLITCH_RATE = "glitch_rate"
Row = dict[str, Any]


def read_table(path: Path) -> pd.DataFrame:
    """Return a table; only empty cells are gaps, for a local mixing is called "none"."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def require_one_device(observations: pd.DataFrame) -> None:
    """Refuse runs of several devices where costs are compared: they would be told apart by machine.

    Raises:
        UserError: The runs were made on more than one device.
    """
    devices = sorted(observations["device"].unique())
    if len(devices) > 1:
        raise UserError(
            f"costs of runs made on {len(devices)} devices do not compare: {', '.join(devices)}",
            fix="make all runs of the experiment on one, or unpack each device's in its own clone",
        )


def runs(observations: pd.DataFrame, solvers: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run and tested condition, one column per metric.

    Adds what solvers measured (`SOLVERS`, where there are such), `corrected` accuracy, what is
    above those of a task (`above_greedy`, `above_alone`), `perplexity`, and from the training of
    the run what it took (`compute_s`, `state_bytes`, `steps_to_90`, ...).
    """
    keys = ["task", "architecture", "local", "seed", "device"]
    wide = observations.pivot_table(
        index=[*keys, "condition"], columns="metric", values="value", dropna=True
    ).reset_index()
    training = (
        wide[wide["condition"] == "training"].drop(columns="condition").dropna(axis=1, how="all")
    )
    tested = wide[wide["condition"] != "training"].dropna(axis=1, how="all")
    known = solvers.pivot_table(index=["task", "condition"], columns="metric", values="value")
    solved = known[[name for name in SOLVERS if name in known]].reset_index()
    found = tested.merge(training, on=keys, validate="many_to_one").merge(
        solved, on=["task", "condition"], validate="many_to_one"
    )
    found[CORRECTED] = (found["accuracy"] - found["floor"]) / (1 - found["floor"])
    found["perplexity"] = np.exp(found["nll"])
    for above in (ABOVE_GREEDY, ABOVE_ALONE):
        solver = above.removeprefix("above_")
        if solver in found:
            found[above] = found["accuracy"] - found[solver]
    return found


def trained_runs(found: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the runs of a task under its training condition."""
    return found[(found["task"] == task) & (found["condition"] == TRAINED)]


def missing_rows(
    found: pd.DataFrame, wanted: Sequence[str], *, contrast: str, item: str
) -> Iterator[Row]:
    """Yield a row for each architecture that was not run, so that none is silently left out."""
    for name in wanted:
        if not (found["architecture"] == name).any():
            yield {
                "item": item,
                "contrast": contrast,
                "task": "all",
                "condition": TRAINED,
                "model": name,
                "treatment": name,
                "metric": CORRECTED,
                **NOT_RUN,
            }
