"""Share of flip-flop reads that a run answers wrongly, or what it can be at most."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.looks import look_of

# With no event in n, the rate is below 3 / n with 95 % confidence.
_RULE_OF_THREE = 3.0
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TASK = "flip_flop"
_COLUMNS = 3
_SPREAD = 0.6


def drawn(observations: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return reads and glitches of every run under every condition, with Wilson's interval.

    All runs answer the same stored reads, so that reads of several runs are not pooled.

    Args:
        observations: Of the grid.
        labels: Condition of flip-flop -> its law in short. Panels come by the numbers in it: by
            length, then by the share of ignored instructions.
    """
    own = observations[
        (observations["task"] == _TASK) & observations["metric"].isin(["glitches", "queries"])
    ]
    keys = ["condition", "architecture", "seed"]
    wide = own.pivot_table(index=keys, columns="metric", values="value").reset_index()
    wide = wide[wide["condition"].isin([*labels])].astype({"glitches": int, "queries": int})
    intervals = [
        stats.binomtest(wrong, reads).proportion_ci(method="wilson")
        for wrong, reads in zip(wide["glitches"], wide["queries"], strict=True)
    ]
    order = sorted(labels, key=lambda condition: [*map(float, _NUMBER.findall(labels[condition]))])
    return (
        wide.assign(
            label=wide["condition"].map(labels),
            rate=wide["glitches"] / wide["queries"],
            low=[interval.low for interval in intervals],
            high=[interval.high for interval in intervals],
            ceiling=(_RULE_OF_THREE / wide["queries"]).where(wide["glitches"] == 0),
            place=wide["condition"].map(order.index),
        )
        .rename(columns={"queries": "reads"})
        .sort_values(["place", "architecture", "seed"], ignore_index=True)
    )


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per condition.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    conditions = [*dict.fromkeys(data["condition"])]
    names = wording.in_order([*data["architecture"].unique()])
    seeds = data["seed"].nunique()
    with style():
        columns = min(_COLUMNS, len(conditions))
        lines = -(-len(conditions) // columns)
        fig = new_figure(PAGE_IN, 2.3 * lines)
        axes = fig.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for unused in axes.ravel()[len(conditions) :]:
            unused.set_visible(False)
        for ax, condition in zip(axes.ravel(), conditions, strict=False):
            own = data[data["condition"] == condition]
            for place, name in enumerate(names):
                runs = own[own["architecture"] == name].sort_values("rate")
                color = look_of(name)["color"]
                at = place + np.linspace(-_SPREAD / 2, _SPREAD / 2, len(runs))
                clean = runs["glitches"].to_numpy() == 0
                ax.plot(
                    runs["ceiling"][clean], at[clean], "<", color=color, markerfacecolor="white"
                )
                ax.plot(runs["rate"][~clean], at[~clean], "o", color=color, markersize=2.5)
                ax.hlines(
                    at[~clean], runs["low"][~clean], runs["high"][~clean], color=color, lw=0.7
                )
            ax.set_xscale("log")
            ax.set_yticks(range(len(names)), [wording.architecture(n) for n in names])
            ax.set_ylim(len(names) - 0.4, -0.6)
            ax.set_title(own["label"].iloc[0], loc="left")
            panel_note(ax, n=seeds, interval="Wilson, each run", scale=scale)
        plain_log_axis(axes[0, 0].xaxis, each=(1.0,))
        for place, ax in enumerate(axes.ravel()[: len(conditions)]):
            # The last panel of each column has the axis: below it there may be none.
            if place + columns >= len(conditions):
                ax.set_xlabel("glitch rate")
                ax.tick_params(labelbottom=True)
    return fig
