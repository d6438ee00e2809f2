"""What learning rates do: the trials of every pilot, and how far rates are apart."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from seqlab.studies.archbench.analysis.frames import Row
from seqlab.studies.archbench.analysis.rows import statistics
from seqlab.studies.archbench.rates import ALIKE, CHOSEN, rate_of_trial

_ITEM = "archbench_table12"
# Verdicts of a choice that is the lowest or the highest of the rates, and of one between rates
# whose accuracies do not differ at the last rung, as where none has learned anything yet.
EDGE, BY_LOSS = "at the edge", "by loss"


def analyse(observations: pd.DataFrame) -> pd.DataFrame:
    """Return one row per trial and one per choice."""
    return statistics(_rows(observations))


def _rows(observations: pd.DataFrame) -> Iterator[Row]:
    keys = ["task", "architecture", "local"]
    for (task, name, local), part in observations.groupby(keys, sort=False):
        common = {
            "item": _ITEM,
            "task": task,
            "model": name,
            "treatment": f"{name}-{local}",
            "provenance": "measured",
            "device": part["device"].iloc[0],
            "n": 1,
        }
        tried = [rate_of_trial(trial) for trial in part["condition"].unique() if trial != CHOSEN]
        for trial, rows in part.groupby("condition", sort=False):
            values = rows.set_index("metric")["value"]
            if trial == CHOSEN:
                yield common | {
                    "contrast": CHOSEN,
                    "condition": trial,
                    "metric": "rate",
                    "estimate": values["rate"],
                    # A better one may lie beyond.
                    "verdict": ", ".join(
                        [EDGE] * _at_edge(values["rate"], tried) + [BY_LOSS] * _by_loss(part)
                    ),
                }
                continue
            reached = values.get("accuracy")
            diverged = reached is None or reached != reached
            yield common | {
                "contrast": "trial",
                "condition": trial,
                "metric": "accuracy",
                "estimate": reached,
                "steps": values.get("steps"),
                "verdict": "diverged" if diverged else "",
            }


def _by_loss(part: pd.DataFrame) -> bool:
    """Return whether accuracies do not tell the best rates of the last rung, the longest, apart."""
    trials = part.pivot_table(index="condition", columns="metric", values="value")
    last = trials[trials["steps"] == trials["steps"].max()]["accuracy"]
    return bool((last >= last.max() - ALIKE).sum() > 1)


def _at_edge(rate: float, tried: list[float]) -> bool:
    """Return whether a rate is the lowest or the highest of several; names have six digits."""
    if len(set(tried)) < 2:
        return False
    return any(math.isclose(rate, end, rel_tol=1e-5) for end in (min(tried), max(tried)))
