"""Share of flip-flop reads that are answered wrongly, or what it can be at most."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording

# With no event in n, the rate is below 3 / n with 95 % confidence.
_RULE_OF_THREE = 3.0
_TASK = "flip_flop"
_COLUMNS = 3


def drawn(
    observations: pd.DataFrame,
    panels: Mapping[str, Mapping[str, list[str]]],
    labels: Mapping[str, Mapping[str, str]],
) -> pd.DataFrame:
    """Return per condition and architecture the reads and glitches of all seeds, with intervals.

    Wilson's interval of the reads; seeds are further apart than that where training differs, which
    the runs, drawn beside it, show.

    Args:
        observations: Of the grid.
        panels: Title -> task -> conditions; those of flip-flop are drawn, each once.
        labels: Task -> condition -> its law in short.
    """
    named = [c for panel in panels.values() for c in panel.get(_TASK, [])]
    conditions = list(dict.fromkeys(named))
    wide = (
        observations[(observations["task"] == _TASK) & observations["condition"].isin(conditions)]
        .pivot_table(index=["condition", "architecture", "seed"], columns="metric", values="value")
        .reset_index()
    )
    rows = []
    for condition in conditions:
        for name, part in wide[wide["condition"] == condition].groupby("architecture", sort=False):
            wrong, reads = int(part["glitches"].sum()), int(part["queries"].sum())
            interval = stats.binomtest(wrong, reads).proportion_ci(method="wilson")
            rows.append(
                {
                    "condition": condition,
                    "label": labels[_TASK][condition],
                    "architecture": name,
                    "n": len(part),
                    "reads": reads,
                    "glitches": wrong,
                    "rate": wrong / reads,
                    "low": interval.low,
                    "high": interval.high,
                    "ceiling": _RULE_OF_THREE / reads if wrong == 0 else float("nan"),
                    "least": float((part["glitches"] / part["queries"]).min()),
                    "most": float((part["glitches"] / part["queries"]).max()),
                }
            )
    return pd.DataFrame(rows)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per condition.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    conditions = [*dict.fromkeys(data["condition"])]
    with style():
        columns = min(_COLUMNS, len(conditions))
        lines = -(-len(conditions) // columns)
        fig = new_figure(PAGE_IN, 2.3 * lines)
        axes = fig.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for unused in axes.ravel()[len(conditions) :]:
            unused.set_visible(False)
        for ax, condition in zip(axes.ravel(), conditions, strict=False):
            own = data[data["condition"] == condition]
            names = wording.in_order([*own["architecture"]])
            for place, name in enumerate(names):
                row = own[own["architecture"] == name].iloc[0]
                color = wording.look_of(name)["color"]
                if row["glitches"] == 0:
                    ax.plot(row["ceiling"], place, "<", color=color, markerfacecolor="white")
                    continue
                ax.hlines(
                    place, max(row["least"], row["rate"] * 1e-3), row["most"], color=color, lw=0.7
                )
                ax.hlines(place, row["low"], row["high"], color=color, lw=2.2)
                ax.plot(row["rate"], place, "o", color=color)
            ax.set_xscale("log")
            ax.set_yticks(range(len(names)), [wording.architecture(n) for n in names])
            ax.set_ylim(len(names) - 0.4, -0.6)
            ax.set_title(own["label"].iloc[0], loc="left")
            panel_note(ax, n=int(own["n"].min()), interval="Wilson; thin: runs", scale=scale)
        plain_log_axis(axes[0, 0].xaxis, each=(1.0,))
        for place, ax in enumerate(axes.ravel()[: len(conditions)]):
            # The last panel of each column has the axis: below it there may be none.
            if place + columns >= len(conditions):
                ax.set_xlabel("glitch rate")
                ax.tick_params(labelbottom=True)
    return fig
