"""The figure of both layout controls, drawn from its statistics; no statistic is computed here."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from seqlab.plots.primitives import forest, panel_note
from seqlab.plots.style import NOISE, PAGE_IN, REFERENCE, new_figure, style

LABELS = {
    "dense_random": "dense: random / original order",
    "dense_spectral": "dense: solved / original order",
    "dense_aa": "dense: A/A",
    "sparse_shuffled": "sparse: random / clustered order",
    "sparse_aa": "sparse: A/A",
}
# Metric of each panel and the text below it.
PANELS = {
    "latency_ms": "ratio of latencies (measured)",
    "L2_misses": "ratio of misses of the second\ncache (simulated)",
    "dram_bytes": "ratio of bytes from and to\nmemory (simulated)",
}
_TICKS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)


def drawn(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly the rows that the figure draws, in the order it draws them."""
    rows = statistics[statistics["metric"].isin(PANELS)]
    order = {name: index for index, name in enumerate(LABELS)}
    rows = rows.assign(label=rows["contrast"].map(LABELS), _row=rows["contrast"].map(order))
    return rows.sort_values(["metric", "_row"]).drop(columns="_row").reset_index(drop=True)


def draw(data: pd.DataFrame, *, scale: str, margin: float) -> Figure:
    """Return the figure: one panel per metric, one line per contrast.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the run, stated in every panel.
        margin: Equivalence margin of a ratio, drawn as dashed lines.
    """
    with style():
        fig = new_figure(PAGE_IN, 2.3)
        axes = fig.subplots(1, len(PANELS))
        for ax, (metric, text), letter in zip(axes, PANELS.items(), "abc", strict=True):
            rows = data[data["metric"] == metric]
            forest(
                ax,
                rows,
                estimate="ratio",
                low="ratio_low",
                high="ratio_high",
                reference=1.0,
            )
            _noise(ax, rows)
            for bound in (1 / (1 + margin), 1 + margin):
                ax.axvline(bound, color=REFERENCE, linewidth=0.6, linestyle="--", zorder=1)
            ax.set_xscale("log")
            low = np.nanmin([rows["ratio"].min(), rows["ratio_low"].min(), 1.0])
            high = np.nanmax([rows["ratio"].max(), rows["ratio_high"].max(), 1.1])
            ax.set_xlim(0.9 * low, 1.1 * high)
            ax.xaxis.set_major_locator(FixedLocator(list(_TICKS)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel(text)
            ax.set_title(letter, loc="left", fontweight="bold")
            panel_note(ax, n=int(data["n"].max()), interval="95 % CI", scale=scale)
            if ax is not axes[0]:
                ax.tick_params(labelleft=False)
    return fig


def _noise(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw what identical arms of a kernel differ by, behind each of its lines."""
    for y, limit in zip(range(len(rows) - 1, -1, -1), rows["noise_limit"], strict=True):
        if np.isfinite(limit):
            ends = (1 / (1 + limit), 1 + limit)
            ax.fill_betweenx([y - 0.42, y + 0.42], *ends, color=NOISE, lw=0, zorder=0)
