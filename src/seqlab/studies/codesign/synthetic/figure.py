"""Figure 3, drawn from its observations and statistics; no statistic is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, REFERENCE, look, new_figure, style
from seqlab.studies.codesign.synthetic.spec import ShownSpec

_LAYOUT = ["graph", "nodes", "block", "capacity", "seed", "fraction", "q_frac", "hit_rate"]
_GAIN = ["graph", "nodes", "block", "capacity", "lines", "n", "estimate", "ci_low", "ci_high"]


def drawn(observations: pd.DataFrame, statistics: pd.DataFrame, shown: ShownSpec) -> pd.DataFrame:
    """Return exactly the rows that the figure draws, with the panel of each."""
    layouts = observations[observations["graph"] == shown.graph][_LAYOUT]
    gains = statistics[
        (statistics["contrast"] == "truth_vs_random") & (statistics["facet"] == "cell")
    ][_GAIN]
    panels = {
        "left": layouts[layouts["block"] == shown.block],
        "middle": layouts[layouts["block"] == shown.small_block],
        "right": gains.assign(share=gains["capacity"] / gains["lines"]),
    }
    parts = [rows.assign(panel=name, provenance="simulated") for name, rows in panels.items()]
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str, shown: ShownSpec) -> Figure:
    """Return the figure: two graphs' layouts, and the gain over the share of the array cached.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the run, stated in every panel.
        shown: What the left panels show.
    """
    with style():
        fig = new_figure(PAGE_IN, 2.9)
        axes = fig.subplots(1, 3)
        seeds = int(data["seed"].nunique())
        for ax, panel, block in zip(
            axes[:2], ("left", "middle"), (shown.block, shown.small_block), strict=True
        ):
            _layouts(ax, data[data["panel"] == panel])
            ax.set_xlabel(f"share of edges inside lines\nof {block} nodes")
        axes[0].set_ylabel("simulated hit rate")
        _gains(axes[2], data[data["panel"] == "right"])
        notes = ("single layouts", "single layouts", "95 % CI")
        for ax, letter, note in zip(axes, "abc", notes, strict=True):
            ax.set_title(letter, loc="left", fontweight="bold")
            panel_note(ax, n=seeds, interval=note, scale=scale)
        handles, labels = axes[0].get_legend_handles_labels()
        more = [
            pair
            for ax in axes[1:]
            for pair in zip(*ax.get_legend_handles_labels(), strict=True)
            if pair[1] not in labels
        ]
        fig.legend(
            [*handles, *(handle for handle, _ in more)],
            [*labels, *(label for _, label in more)],
            loc="outside lower center",
            ncols=5,
        )
    return fig


def _layouts(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw every layout of every seed; colour is the capacity."""
    lines = -(-int(rows["nodes"].iloc[0]) // int(rows["block"].iloc[0]))
    for index, capacity in enumerate(sorted(rows["capacity"].unique())):
        part = rows[rows["capacity"] == capacity]
        _points(ax, part, index, f"{capacity:g} line{'s' if capacity > 1 else ''} cached")
        if capacity >= lines:
            y = float(part["hit_rate"].mean())
            middle = float(part["q_frac"].mean())
            ax.annotate(
                "holds the whole array",
                (middle, y),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
            )
    ends = [float(rows["q_frac"].min()), float(rows["q_frac"].max())]
    ax.plot(ends, ends, color=REFERENCE, linewidth=1.0, label="theory for 1 line", zorder=3)
    ax.set_ylim(-0.03, 1.1)


def _points(ax: Axes, part: pd.DataFrame, index: int, label: str) -> None:
    # Hollow: simulated.
    seen = look(index)
    ax.plot(
        part["q_frac"],
        part["hit_rate"],
        linestyle="",
        marker=seen["marker"],
        color=seen["color"],
        markerfacecolor="none",
        markersize=2.2,
        markeredgewidth=0.5,
        label=label,
    )


def _gains(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the gain of the best layout over a random one, one mark per cell of the grid."""
    for index, block in enumerate(_sorted(rows["block"])):
        part = rows[rows["block"] == block]
        color, marker = look(index + 4)["color"], look(index + 4)["marker"]
        known = part.dropna(subset=["ci_low"])
        ax.vlines(known["share"], known["ci_low"], known["ci_high"], color=color, linewidth=0.5)
        ax.plot(
            part["share"],
            part["estimate"],
            linestyle="",
            marker=marker,
            color=color,
            markerfacecolor="none",
            markersize=3.0,
            markeredgewidth=0.6,
            label=f"c: {block:g} nodes per line",
        )
    ax.axhline(0.0, color=REFERENCE, linewidth=0.6, zorder=0)
    ax.axvline(1.0, color=REFERENCE, linewidth=0.6, linestyle="--", zorder=0)
    ax.set_xscale("log")
    plain_log_axis(ax.xaxis)
    ax.xaxis.set_major_locator(FixedLocator([0.001, 0.01, 0.1, 1.0]))
    ax.set_xlabel("cached share of the array")
    ax.set_ylabel("gain in hit rate over a random order")


def _sorted(values: pd.Series) -> Sequence[float]:
    return sorted(values.unique())
