"""Accuracy over the distance from a query back to what it asks for."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note, plain_log_axis, small_multiples
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.cells import level_rows
from seqlab.studies.archbench.figures.looks import legend_of, look_of

_COLUMNS = 2


def drawn(
    statistics: pd.DataFrame, solvers: pd.DataFrame, labels: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
    """Return the mean accuracy of every architecture on every tenth of the queries, and floors.

    Args:
        statistics: Of the grid.
        solvers: What solvers reach.
        labels: Task -> condition -> its law in short.
    """
    parts = []
    rows = statistics[statistics["contrast"] == "at_distance"]
    for (task, condition), own in rows.groupby(["task", "condition"], sort=False):
        floor = level_rows(solvers, str(task), conditions=(str(condition),))["value"].iloc[0]
        kept = own[["task", "condition", "model", "distance", "n", "estimate", "ci_low", "ci_high"]]
        parts.append(kept.assign(floor=floor, label=labels[str(task)][str(condition)]))
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per condition.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    panels = [*data.groupby(["task", "condition"], sort=False)]
    with style():
        fig = new_figure(PAGE_IN, 0.6 + 2.1 * -(-len(panels) // _COLUMNS))
        titles = [f"{wording.task(task)}, {own['label'].iloc[0]}" for (task, _), own in panels]
        axes = small_multiples(fig, titles, columns=_COLUMNS, share_x=False, share_y=False)
        for ax, (_, own) in zip(axes, panels, strict=True):
            for name in wording.in_order([*own["model"].unique()]):
                rows = own[own["model"] == name].sort_values("distance")
                seen = look_of(name)
                ax.plot(
                    rows["distance"],
                    rows["estimate"],
                    color=seen["color"],
                    marker=seen["marker"],
                    linestyle=seen["linestyle"],
                    markersize=3,
                    label=wording.architecture(name),
                )
                ax.vlines(
                    rows["distance"], rows["ci_low"], rows["ci_high"], color=seen["color"], lw=0.6
                )
            ax.axhline(own["floor"].iloc[0], color=REFERENCE, linestyle="--", lw=0.7)
            ax.set_xscale("log")
            plain_log_axis(ax.xaxis)
            ax.set_xlabel("distance, tokens")
            count = int(own["n"].min())
            panel_note(ax, n=count, interval=wording.interval_of_means(count), scale=scale)
        for ax in axes[::_COLUMNS]:
            ax.set_ylabel("accuracy")
        fig.legend(*legend_of(fig.axes), loc="outside lower center", ncols=5)
    return fig
