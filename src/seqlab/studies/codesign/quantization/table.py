"""Table 14: the three strategies at every scheme and bit width, with their contrasts in words."""

from __future__ import annotations

import pandas as pd

from seqlab.studies.codesign.quantization import names
from seqlab.studies.codesign.quantization.contrasts import CELL, LATENCY, pooled

_PRIMARY = ("permute_first_vs_quantize_first", "repermute_vs_permute_first")
_METRICS = ("bits_per_byte", *LATENCY)
_UNITS = {"bits_per_byte": "bits/byte", "prefill_ms": "ms", "decode_ms": "ms"}
_WORDS = {
    "permute_first_vs_quantize_first": "second vs first",
    "repermute_vs_permute_first": "third vs second",
}


def table(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per metric and cell: means of the strategies, both contrasts, their verdicts.

    Values of a strategy are mean (sd) over runs; contrasts are differences for bits per byte and
    ratios for latencies, with 95 % intervals. Rows of scheme `all` are over all of a run together.
    """
    rows = []
    everything = pd.concat([observations, pooled(observations)])
    for metric in _METRICS:
        measured = everything[everything["metric"] == metric]
        for cell, values in measured.groupby(CELL, sort=False):
            row: dict[str, object] = {
                "metric": metric.removesuffix("_ms"),
                "unit": _UNITS[metric],
                **dict(zip(CELL, cell, strict=True)),
                "n": values["seed"].nunique(),
            }
            for arm in names.STRATEGIES:
                row[arm] = _mean_sd(values.loc[values["arm"] == arm, "value"])
            for contrast in _PRIMARY:
                found = _find(statistics, contrast, metric, cell)
                row[_WORDS[contrast]] = _interval(found, metric in LATENCY)
                row[f"{_WORDS[contrast]}: verdict"] = _verdict(found)
            rows.append(row)
    return pd.DataFrame(rows)


def _find(
    statistics: pd.DataFrame, contrast: str, metric: str, cell: tuple[object, ...]
) -> pd.Series:
    keep = (
        (statistics["contrast"] == contrast)
        & (statistics["metric"] == metric)
        & (statistics["subset"] == "all")
    )
    for name, value in zip(CELL, cell, strict=True):
        keep &= statistics[name] == value
    return statistics[keep].iloc[0]


def _mean_sd(values: pd.Series) -> str:
    return f"{values.mean():.4f} ({values.std():.4f})"


def _interval(row: pd.Series, ratio: bool) -> str:
    if row["verdict"] == "degenerate":
        return "0" if row["estimate"] == 0 else f"{row['estimate']:.3g}"
    if ratio:
        return f"×{row['ratio']:.4f} [{row['ratio_low']:.4f}, {row['ratio_high']:.4f}]"
    return f"{row['estimate']:+.5f} [{row['ci_low']:+.5f}, {row['ci_high']:+.5f}]"


def _verdict(row: pd.Series) -> str:
    exact = row["verdict"] == "degenerate" and row["estimate"] == 0
    return "identical in every run" if exact else str(row["verdict"])
