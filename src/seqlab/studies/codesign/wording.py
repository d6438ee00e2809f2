"""Cells of the study's tables: means, contrasts and verdicts as text, the same everywhere."""

from __future__ import annotations

import math

import pandas as pd

NOT_RUN = "not_run"


def mean_sd(values: pd.Series) -> str:
    """Return `mean (sd)` over runs to four significant digits; a dash where there are none."""
    known = values.dropna()
    if known.empty:
        return "–"
    spread = known.std() if len(known) > 1 else math.nan
    return f"{known.mean():.4g} ({spread:.2g})" if math.isfinite(spread) else f"{known.mean():.4g}"


def interval(row: pd.Series | None) -> str:
    """Return the estimate of a contrast with its interval: a ratio where it has one."""
    if row is None:
        return "–"
    if row["verdict"] == "degenerate":
        if row["estimate"] == 0:
            return "0"
        return f"×{row['ratio']:.4g}" if pd.notna(row["ratio"]) else f"{row['estimate']:+.4g}"
    if pd.notna(row["ratio"]):
        return f"×{row['ratio']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]"
    return f"{row['estimate']:+.4g} [{row['ci_low']:+.4g}, {row['ci_high']:+.4g}]"


def verdict(row: pd.Series | None) -> str:
    """Return the verdict of a contrast; exact equality in every run is said as such."""
    if row is None:
        return NOT_RUN
    if row["verdict"] == "degenerate" and row["estimate"] == 0:
        return "identical in every run"
    return str(row["verdict"])


def find(statistics: pd.DataFrame, **where: object) -> pd.Series | None:
    """Return the first row with these values, None if there is none."""
    keep = pd.Series(True, index=statistics.index)
    for column, value in where.items():
        keep &= statistics[column] == value
    rows = statistics[keep]
    return None if rows.empty else rows.iloc[0]
