"""What the figures of the sweeps share: their rows, and bands and axes over numeric levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlab.plots.primitives import plain_log_axis
from seqlab.plots.style import NOISE, PAGE_IN, REFERENCE, SMALLEST_TEXT_PT, new_figure
from seqlab.studies.codesign.sweeps.statistics import LATENCY

DRAWN = [
    *("device", "kernel", "panel", "series", "level", "estimate", "low", "high"),
    *("noise_limit", "n", "verdict", "provenance", "reason"),
]
_PLACE = ["device", "kernel", "level"]


def means(statistics: pd.DataFrame, cell: str, words: Mapping[str, str]) -> pd.DataFrame:
    """Return mean latencies of the arms in `words` as rows of panel `latency`."""
    rows = _rows(statistics, cell, ["mean"])
    rows = rows[rows["treatment"].isin(words)]
    return _drawn(
        rows.assign(
            panel="latency",
            series=rows["treatment"].map(dict(words)),
            low=rows["ci_low"],
            high=rows["ci_high"],
        ),
        statistics,
        cell,
    )


def ratios(statistics: pd.DataFrame, cell: str, words: Mapping[str, str]) -> pd.DataFrame:
    """Return ratios of the contrasts in `words` as rows of panel `ratio`, those not run too."""
    rows = _rows(statistics, cell, list(words))
    return _drawn(
        rows.assign(
            panel="ratio",
            series=rows["contrast"].map(dict(words)),
            estimate=rows["ratio"],
            low=rows["ratio_low"],
            high=rows["ratio_high"],
        ),
        statistics,
        cell,
    )


def _rows(statistics: pd.DataFrame, cell: str, contrasts: Sequence[str]) -> pd.DataFrame:
    return statistics[
        (statistics["cell"] == cell)
        & (statistics["metric"] == LATENCY)
        & statistics["contrast"].isin(list(contrasts))
    ]


def _drawn(rows: pd.DataFrame, statistics: pd.DataFrame, cell: str) -> pd.DataFrame:
    noise = _rows(statistics, cell, ["aa"]).set_index(_PLACE)["noise_limit"]
    keys = pd.MultiIndex.from_frame(rows[_PLACE])
    rows = rows.assign(noise_limit=noise.reindex(keys).to_numpy())
    return rows[DRAWN].reset_index(drop=True)


def at_levels(rows: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return the rows that were run, series after series, with their levels as numbers `x`.

    Args:
        rows: Rows of `DRAWN`.
        order: The series in the order of their colours; one without rows keeps its colour.
    """
    known = rows[rows["verdict"] != "not_run"]
    known = known.assign(x=pd.to_numeric(known["level"]))
    parts = []
    for name in order:
        part = known[known["series"] == name].sort_values("x", kind="stable")
        if part.empty:
            part = known.head(1).assign(series=name, estimate=np.nan, low=np.nan, high=np.nan)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def noise_ribbon(ax: Axes, rows: pd.DataFrame, centre: Sequence[float] | float = 1.0) -> None:
    """Shade what the mean of two identical arms can differ by around `centre`, level by level.

    Args:
        ax: Axes to draw on.
        rows: One row per level with `x` and `noise_limit`.
        centre: Value of each level around which the band lies.
    """
    limit = 1.0 + rows["noise_limit"].to_numpy(dtype=float)
    middle = np.broadcast_to(np.asarray(centre, dtype=float), limit.shape)
    ax.fill_between(
        rows["x"], middle / limit, middle * limit, facecolor=NOISE, edgecolor="none", zorder=0
    )


def level_axis(ax: Axes, levels: Sequence[float], label: str) -> None:
    """Put ticks of a logarithmic horizontal axis at the levels themselves."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(levels), [f"{level:g}" for level in levels])
    ax.minorticks_off()
    ax.set_xlabel(label)


def ratio_axis(ax: Axes, label: str) -> None:
    """Mark where the ratio is 1, and label a logarithmic axis with plain numbers."""
    ax.axhline(1.0, color=REFERENCE, linewidth=0.6, zorder=1)
    ax.set_yscale("log")
    plain_log_axis(ax.yaxis)
    ax.set_ylabel(label)


def remark(ax: Axes, text: str) -> None:
    """Write a remark at the lower left of a logarithmic axis, below everything that is drawn."""
    if text:
        low, high = ax.get_ylim()
        ax.set_ylim(low * (low / high) ** (0.13 * (1 + text.count("\n"))), high)
        ax.text(0.02, 0.02, text, transform=ax.transAxes, fontsize=SMALLEST_TEXT_PT, va="bottom")


def without_runs() -> Figure:
    """Return the figure of no runs at all, as a rehearsal leaves it; call inside `style()`."""
    fig = new_figure(PAGE_IN, 1.0)
    ax = fig.subplots()
    ax.set_axis_off()
    ax.text(0.5, 0.5, "no runs", ha="center", va="center", transform=ax.transAxes)
    return fig


def runs(rows: pd.DataFrame) -> int:
    """Return the most runs of any row."""
    return int(rows["n"].max()) if len(rows) else 0


def titled(text: str, device: str, several: bool) -> str:
    """Return the title of a panel, with the device where there are several."""
    return f"{text}, {device}" if several else text
