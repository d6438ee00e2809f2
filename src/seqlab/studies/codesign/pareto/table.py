"""Table 7: the methods of the original's comparison, measured or said not to be."""

from __future__ import annotations

import math

import pandas as pd

from seqlab.studies.codesign.pareto.contrasts import LATENCY, QUALITY, REFERENCE, with_reference
from seqlab.studies.codesign.pareto.names import (
    KERNEL,
    LEARNED,
    LEARNED_LEVEL,
    LEARNED_TP,
    level_of,
)
from seqlab.studies.codesign.wording import NOT_RUN, find, interval, mean_sd, verdict
from seqlab.studies.codesign.workbench import names as arms
from seqlab.studies.codesign.workbench.names import DENSE_KERNEL

# Methods of the original that have no measured row, and why.
_ABSENT = {
    "TVM, dense": "this experiment times no compiler; the table of compilers does, where one is "
    "installed",
    "HAT": "neither code nor checkpoints of HAT came with the original study",
}


def table(observations: pd.DataFrame, statistics: pd.DataFrame, shown: int) -> pd.DataFrame:
    """Return one row per device and method: latency and quality, each against the dense model.

    Args:
        observations: Rows of `collect_records`.
        statistics: Rows of `pareto.contrasts.analyse`.
        shown: Sparsity of the pruned rows, in percent.
    """
    rows = []
    for (device, cell), part in with_reference(observations).groupby(
        ["device", "cell"], sort=False
    ):
        own = statistics[(statistics["device"] == device) & (statistics["cell"] == cell)]
        for method, arm, level, sparsity in _methods(shown):
            rows.append(_row(part, own, method, arm, level) | {"sparsity_%": sparsity})
        rows += [
            {"method": method, "provenance": NOT_RUN, "verdict": NOT_RUN, "reason": reason}
            for method, reason in _ABSENT.items()
        ]
        for row in rows:
            row.setdefault("device", device)
    columns = ["method", "kernel", "sparsity_%"]
    built = pd.DataFrame(rows)
    return built[[*columns, *(name for name in built if name not in columns)]] if rows else built


def _methods(shown: int) -> tuple[tuple[str, str, str, float], ...]:
    level = level_of(shown)
    return (
        ("dense, dense product", REFERENCE, level, 0),
        ("dense", arms.DENSE, level, 0),
        ("permute only (P)", arms.PERMUTE_ONLY, level, 0),
        ("prune only (T)", arms.ALGO_ONLY, level, shown),
        ("linear (P, T)", arms.LINEAR_PT, level, shown),
        ("linear (T, P)", arms.LINEAR_TP, level, shown),
        ("iterative (P, T, P)", arms.ITERATIVE, level, shown),
        ("learned 2:4 masks", LEARNED, LEARNED_LEVEL, 50),
        ("learned 2:4 masks, P", LEARNED_TP, LEARNED_LEVEL, 50),
    )


def _row(
    part: pd.DataFrame, statistics: pd.DataFrame, method: str, arm: str, level: str
) -> dict[str, object]:
    here = part[(part["level"] == level) & (part["arm"] == arm)]
    latency = here.loc[here["metric"] == LATENCY, "value"]
    quality = here.loc[here["metric"] == QUALITY, "value"]
    where = {"contrast": f"{arm}_vs_reference", "level": level}
    faster = find(statistics, metric=LATENCY, **where)
    better = find(statistics, metric=QUALITY, **where)
    reference = arm == REFERENCE
    if here.empty:
        return {
            "method": method,
            "provenance": NOT_RUN,
            "verdict": NOT_RUN,
            "reason": "no run of this device measured it",
        }
    return {
        "method": method,
        "kernel": DENSE_KERNEL if reference else KERNEL,
        "n": int(latency.notna().sum()),
        "latency_ms": mean_sd(latency),
        "latency / dense product": "" if reference else interval(faster),
        "p_holm": math.nan if faster is None else faster["p_holm"],
        "verdict": "" if reference else verdict(faster),
        "bits_per_byte": mean_sd(quality),
        "bits_per_byte - dense": "" if reference else interval(better),
        "verdict of quality": "" if reference else verdict(better),
        "provenance": "measured",
        "reason": "" if faster is None else faster["reason"],
    }
