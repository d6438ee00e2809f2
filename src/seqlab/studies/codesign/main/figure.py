"""Figure 7a: the distribution of run medians of every arm; no statistic is computed here."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlab.plots.primitives import noise_band, panel_note, small_multiples
from seqlab.plots.style import PAGE_IN, PALETTE, new_figure, style
from seqlab.studies.codesign.workbench import names as arms

SHOWN = (arms.DENSE, arms.ALGO_ONLY, arms.LINEAR_PT, arms.LINEAR_TP, arms.ITERATIVE)
_WORDS = {
    arms.DENSE: "dense",
    arms.ALGO_ONLY: "T",
    arms.LINEAR_PT: "P, T",
    arms.LINEAR_TP: "T, P",
    arms.ITERATIVE: "P, T, P",
}


def drawn(observations: pd.DataFrame, statistics: pd.DataFrame) -> pd.DataFrame:
    """Return exactly what is drawn: run medians by panel and arm, with the noise limit beside."""
    rows = observations[(observations["metric"] == "latency_ms") & observations["arm"].isin(SHOWN)]
    noise = statistics[
        (statistics["contrast"] == "aa") & (statistics["metric"] == "latency_ms")
    ].set_index(["device", "cell", "kernel"])["noise_limit"]
    keys = pd.MultiIndex.from_frame(rows[["device", "cell", "kernel"]])
    rows = rows.assign(noise_limit=noise.reindex(keys).to_numpy())
    return rows.drop(columns="metric").reset_index(drop=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: one panel per device, architecture and kernel."""
    panels = list(data.groupby(["device", "cell", "kernel"], sort=False))
    if not panels:
        with style():
            fig = new_figure(PAGE_IN, 1.0)
            fig.text(0.5, 0.5, f"no runs at {scale} scale", ha="center")
        return fig
    several = data["device"].nunique() > 1
    columns = min(3, len(panels))
    with style():
        fig = new_figure(PAGE_IN, 1.9 * -(-len(panels) // columns))
        titles = [
            f"{cell}, {kernel}" + (f", {device}" if several else "")
            for (device, cell, kernel), _ in panels
        ]
        axes = small_multiples(fig, titles, columns=columns, share_x=False, share_y=False)
        for ax, (_, rows) in zip(axes, panels, strict=True):
            _panel(ax, rows)
            panel_note(ax, n=int(rows["seed"].nunique()), interval="points are runs", scale=scale)
        for ax in axes[::columns]:
            ax.set_ylabel("median latency (ms)")
    return fig


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw a violin and every run of each arm, behind them the noise of identical arms."""
    for x, arm in enumerate(SHOWN):
        values = rows.loc[rows["arm"] == arm, "value"].to_numpy()
        color = PALETTE[1 + x]
        if len(values) > 1 and np.ptp(values) > 0:
            for body in ax.violinplot(values, [x], widths=0.8, showextrema=False)["bodies"]:  # type: ignore[attr-defined]
                body.set(facecolor=color, alpha=0.35, linewidth=0)
        # Spread by rank, not by chance: the same data give the same bytes.
        places = x + 0.24 * np.linspace(-1, 1, len(values))[np.argsort(np.argsort(values))]
        ax.plot(places, values, ".", color=color, markersize=3)
        ax.plot([x - 0.3, x + 0.3], [np.median(values)] * 2, color="black", linewidth=0.9)
    limit = rows["noise_limit"].iloc[0]
    # The band may be wider than everything that is drawn before it.
    span = ax.get_ylim()
    if np.isfinite(limit):
        centre = float(np.median(rows.loc[rows["arm"] == arms.DENSE, "value"]))
        noise_band(ax, (centre / (1 + limit), centre * (1 + limit)))
    ax.set_ylim(span)
    ax.set_xticks(range(len(SHOWN)), [_WORDS[arm] for arm in SHOWN])
