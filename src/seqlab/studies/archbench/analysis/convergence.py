"""Steps until a task is solved; runs that were not are censored, never "failed"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from seqlab.stats import multiplicity
from seqlab.stats.contrast import DEGENERATE, INCONCLUSIVE
from seqlab.stats.survival import log_rank
from seqlab.studies.archbench.analysis.comparisons import DIFFERENCE
from seqlab.studies.archbench.analysis.frames import Row, trained_runs
from seqlab.studies.archbench.tasks_spec import TRAINED

SOLVING = "steps_to_90"


def convergence_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    names: Sequence[str],
    control: str,
    *,
    item: str,
    alpha: float,
    seed: int,
) -> Iterator[Row]:
    """Yield how many runs solved a task, the median step, and a log-rank test against `control`.

    The tests of a task are a family of all architectures but the control; where neither solved the
    task, or both at once in every run, p is 1.
    """
    rng = np.random.default_rng(seed)
    for task in tasks:
        part = trained_runs(found, task)
        if SOLVING not in part:
            part = part.assign(**{SOLVING: np.nan})
        common = {
            "item": item,
            "task": task,
            "condition": TRAINED,
            "metric": SOLVING,
            "provenance": "measured",
            "device": part["device"].iloc[0],
        }
        groups = {
            name: part[part["architecture"] == name]
            for name in names
            if (part["architecture"] == name).any()
        }
        tests: list[Row] = []
        for name, runs in groups.items():
            solved = runs[SOLVING].notna()
            # Of all runs: it exists where more than half of them got there.
            steps = runs[SOLVING].fillna(np.inf).to_numpy(dtype=float)
            median = float(np.median(steps)) if np.isfinite(np.median(steps)) else np.nan
            yield common | {
                "contrast": "solved",
                "model": name,
                "treatment": name,
                "n": len(runs),
                "estimate": float(solved.sum()),
                "share": float(solved.mean()),
                "median": median,
                "verdict": "solved"
                if solved.all()
                else ("censored" if not solved.any() else "mixed"),
                "reason": f"{int(solved.sum())} of {len(runs)} runs within "
                f"{int(runs['steps'].max())} steps",
            }
            if name == control or control not in groups:
                continue
            tests.append(_against(runs, groups[control], name, control, rng))
        holm = multiplicity.adjust([row["p_raw"] for row in tests])
        for row, p in zip(tests, holm, strict=True):
            decided = DIFFERENCE if p <= alpha else INCONCLUSIVE
            verdict = row.pop("verdict", None) or decided
            yield common | row | {"contrast": "log_rank", "p_holm": p, "verdict": verdict}


def _against(
    runs: pd.DataFrame, control: pd.DataFrame, name: str, against: str, rng: np.random.Generator
) -> Row:
    row: Row = {
        "model": name,
        "treatment": name,
        "control": against,
        "n": min(len(runs), len(control)),
        "test": "log-rank on steps to 90 %, censored at the last step, by exchange of runs",
        "p_raw": 1.0,
    }
    if runs[SOLVING].isna().all() and control[SOLVING].isna().all():
        return row | {"verdict": DEGENERATE, "reason": "no run of either solved the task"}
    times = [part[SOLVING].fillna(part["steps"]) for part in (runs, control)]
    seen = [part[SOLVING].notna() for part in (runs, control)]
    try:
        found = log_rank(*times, *seen, rng=rng)
    except ValueError:
        return row | {
            "verdict": DEGENERATE,
            "reason": "solved at the same evaluation in every run",
        }
    return row | {
        "statistic": found.statistic,
        "p_raw": found.p,
        "exchange_floor": found.floor,
        "reason": f"no smaller p than {found.floor:.2g} before correction with so many runs",
    }
