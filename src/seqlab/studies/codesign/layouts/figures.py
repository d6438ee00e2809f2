"""The mechanism figure and the figure of the mediation; no statistic is computed here."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqlab.plots.primitives import forest, noise_band, panel_note
from seqlab.plots.style import PAGE_IN, look, new_figure, style
from seqlab.studies.codesign.layouts.names import HITS
from seqlab.studies.codesign.layouts.statistics import LATENCY, MISSES, layout_table

_COLUMNS = {
    "q_newman": "Newman's modularity\nof blocks",
    HITS: "hit rate of L2\n(simulated)",
    MISSES: "thousand misses of L2\n(simulated)",
    LATENCY: "latency (log ratio)",
}
# What a quantity is divided by where it is drawn.
_SCALES = {MISSES: 1e3}
_PANELS = (("q_newman", HITS), (HITS, LATENCY), (MISSES, LATENCY), ("q_newman", LATENCY))
_EFFECTS = {
    "total": "total",
    "acme": "through the hit rate (ACME)",
    "ade": "not through it (ADE)",
}


def scatter_data(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per layout, with the noise limit of its cell."""
    noise = statistics[statistics["contrast"] == "aa"].set_index(["device", "cell"])["noise_limit"]
    tables = []
    for (device, cell), part in observations.groupby(["device", "cell"], sort=False):
        limit = noise.get((device, cell), np.nan)
        tables.append(layout_table(part).assign(cell=cell, device=device, noise_limit=limit))
    return pd.concat(tables, ignore_index=True)


def scatter_figure(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: one row of panels per cell, one panel per pair of quantities.

    The last three panels of a row share their vertical axis, latency.
    """
    cells = list(data.groupby(["device", "cell"], sort=False))
    with style():
        fig = new_figure(PAGE_IN, 1.85 * len(cells) + 0.2)
        axes = fig.subplots(len(cells), len(_PANELS), squeeze=False)
        for row, ((_, cell), part) in zip(axes, cells, strict=True):
            for ax, (x, y) in zip(row, _PANELS, strict=True):
                _scatter(ax, part, x, y)
                if ax is row[1]:
                    ax.set_ylabel(_COLUMNS[y])
                elif ax is not row[0]:
                    ax.sharey(row[1])
                    ax.tick_params(labelleft=False)
            graphs = part["graph"].nunique()
            n = f"{len(part)} layouts" + (f", {graphs} graphs" if graphs > 1 else "")
            row[0].set_title(str(cell), loc="left")
            row[0].set_ylabel(_COLUMNS[HITS])
            panel_note(row[0], n=n, interval="each a point", scale=scale)
            # The note runs on above the next panel, which has none: it takes no room.
            for note in row[0].texts:
                note.set_in_layout(False)
    return fig


def _scatter(ax: Axes, part: pd.DataFrame, x: str, y: str) -> None:
    if y == LATENCY:
        limit = part["noise_limit"].iloc[0]
        if np.isfinite(limit):
            noise_band(ax, (-np.log1p(limit), np.log1p(limit)))
    hollow = bool({HITS, MISSES} & {x, y})
    known = part.dropna(subset=[x, y])
    for index, (_, rows) in enumerate(known.groupby("graph")):
        color = look(2 + index % 5)["color"]
        ax.plot(
            rows[x] / _SCALES.get(x, 1.0),
            rows[y],
            "o",
            markersize=2.6,
            color=color,
            markerfacecolor="white" if hollow else color,
            markeredgewidth=0.7,
        )
    if known.empty:
        ax.text(0.5, 0.5, "nothing reached this level", ha="center", transform=ax.transAxes)
    ax.set_xlabel(_COLUMNS[x])
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(MaxNLocator(2))
    ax.yaxis.set_major_locator(MaxNLocator(4))


def mediation_data(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return the effects of every cell.

    With the percentile interval: over clusters it covers what it says, and BCa a little less.
    """
    rows = statistics[
        (statistics["item"] == "mediation")
        & statistics["contrast"].isin(_EFFECTS)
        & (statistics["metric"] == "percentile")
    ]
    return rows.assign(label=rows["contrast"].map(_EFFECTS)).reset_index(drop=True)


def mediation_figure(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: one panel per cell, one line per effect."""
    cells = list(data.groupby(["device", "cell"], sort=False))
    with style():
        fig = new_figure(PAGE_IN, 1.7)
        axes = fig.subplots(1, len(cells), squeeze=False)[0]
        for ax, ((_, cell), rows) in zip(axes, cells, strict=True):
            ax.set_title(str(cell), loc="left")
            if rows["estimate"].notna().any():
                forest(ax, rows, words=False)
            else:
                reason = (
                    str(rows["reason"].iloc[0])
                    .replace(": ", ":\n")
                    .replace("in every", "in\nevery")
                )
                ax.text(0.02, 0.5, f"undefined\n{reason}", va="center", transform=ax.transAxes)
                ax.set_yticks([])
            ax.set_xlabel("log latency per sd of modularity")
            panel_note(ax, n=int(rows["n"].max()), interval="95 % CI", scale=scale)
            if ax is not axes[0]:
                ax.tick_params(labelleft=False)
    return fig
