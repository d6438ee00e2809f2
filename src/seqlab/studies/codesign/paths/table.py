"""The table of path dependence: tiles, latency and quality of each order, with its contrasts."""

from __future__ import annotations

import math

import pandas as pd

from seqlab.studies.codesign.paths.names import PRUNE_RANDOM
from seqlab.studies.codesign.wording import find, interval, mean_sd, verdict
from seqlab.studies.codesign.workbench import names as arms

_METHODS = {
    arms.DENSE: "dense",
    arms.ALGO_ONLY: "prune",
    arms.LINEAR_PT: "permute, prune",
    arms.LINEAR_TP: "prune, permute",
    arms.ITERATIVE: "permute, prune, permute",
    PRUNE_RANDOM: "prune, permute at random (control)",
}
# Which contrast each row is followed by, and the words of its control.
_AGAINST = {
    arms.ALGO_ONLY: ("algo_only_vs_dense", "dense"),
    arms.LINEAR_PT: ("linear_PT_vs_linear_TP", "prune, permute"),
    arms.LINEAR_TP: ("linear_TP_vs_algo_only", "prune"),
    arms.ITERATIVE: ("iterative_vs_linear_PT", "permute, prune"),
    PRUNE_RANDOM: ("prune_random_vs_algo_only", "prune"),
}
_SHOWN = ("site_latency_ms", "latency_ms", "tiles", "bits_per_byte")


def table(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per device, level and arm, then one per slope on the number of tiles.

    Levels `d<percent>` have equal shares of pruned tiles, `q<percent>` the quality that pruning,
    then permuting, has at this share.
    """
    rows = []
    for (device, cell, level), part in observations.groupby(
        ["device", "cell", "level"], sort=False
    ):
        own = statistics[
            (statistics["device"] == device)
            & (statistics["cell"] == cell)
            & (statistics["level"] == level)
        ]
        for arm, words in _METHODS.items():
            here = part[part["arm"] == arm]
            if not here.empty:
                rows.append(_row(here, own, arm, words) | {"level": level, "device": device})
    rows += [_slope_row(row) for _, row in statistics.iterrows() if _is_slope(row)]
    built = pd.DataFrame(rows)
    return built[["level", *(name for name in built if name != "level")]] if rows else built


def _row(here: pd.DataFrame, statistics: pd.DataFrame, arm: str, words: str) -> dict[str, object]:
    def values(metric: str) -> pd.Series:
        return here.loc[here["metric"] == metric, "value"]

    contrast, control = _AGAINST.get(arm, ("", ""))
    found = {metric: find(statistics, contrast=contrast, metric=metric) for metric in _SHOWN}
    site, reason = found["site_latency_ms"], ""
    if site is None:
        # At equal quality there is no row of the arm that this one is held against.
        control = ""
    else:
        reason = str(site["reason"])
    sparsity = values("matched_sparsity")
    if sparsity.empty:
        sparsity = 100 * values("sparsity")
    return {
        "arm": words,
        "n": int(here["seed"].nunique()),
        "sparsity_%": mean_sd(sparsity),
        "tiles": mean_sd(values("tiles")),
        "site_latency_ms": mean_sd(values("site_latency_ms")),
        "latency_ms": mean_sd(values("latency_ms")),
        "bits_per_byte": mean_sd(values("bits_per_byte")),
        "quality_gap_bits_per_byte": float(values("quality_gap").max()),
        "control": control,
        "tiles / control": _cell(found["tiles"]),
        "site latency / control": _cell(site),
        "p_holm": math.nan if site is None else site["p_holm"],
        "verdict": verdict(site) if control else "",
        "latency / control": _cell(found["latency_ms"]),
        "bits_per_byte - control": _cell(found["bits_per_byte"]),
        "verdict of quality": verdict(found["bits_per_byte"]) if control else "",
        "provenance": "measured; tiles counted",
        "reason": reason,
    }


def _cell(row: pd.Series | None) -> str:
    if row is None or row["verdict"] == "not_evaluable":
        return "–"
    if row["verdict"] == "degenerate" and pd.notna(row["ratio"]):
        return f"×{row['ratio']:.4g}"
    return interval(row)


def _is_slope(row: pd.Series) -> bool:
    return str(row["contrast"]) == "tiles_slope_vs_1"


def _slope_row(row: pd.Series) -> dict[str, object]:
    return {
        "level": row["level"],
        "arm": f"slope of log {row['metric']} on log tiles, less 1",
        "n": int(row["n"]),
        "site latency / control": interval(row),
        "p_holm": row["p_holm"],
        "verdict": verdict(row),
        "provenance": "measured; tiles counted",
        "reason": row["reason"],
        "device": row["device"],
    }
