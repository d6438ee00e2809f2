"""Accuracy beyond the training condition: by length and by load."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note, small_multiples
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.cells import level_rows, mean_rows
from seqlab.studies.archbench.figures.looks import legend_of, look_of


def drawn(
    statistics: pd.DataFrame,
    solvers: pd.DataFrame,
    panels: Mapping[str, Mapping[str, list[str]]],
    labels: Mapping[str, Mapping[str, str]],
) -> pd.DataFrame:
    """Return means of the conditions of every panel, in their order, and their floors.

    Args:
        statistics: Of the grid.
        solvers: What solvers reach.
        panels: Title -> task -> conditions.
        labels: Task -> condition -> its law in short.
    """
    parts = []
    for title, (task, conditions) in ((t, next(iter(p.items()))) for t, p in panels.items()):
        for rows in (
            mean_rows(statistics, task, conditions=conditions),
            level_rows(solvers, task, conditions=conditions),
        ):
            places = rows["condition"].map(conditions.index)
            law = rows["condition"].map(labels[task])
            parts.append(rows.assign(panel=title, place=places, label=law))
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per series of conditions.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    panels = [*dict.fromkeys(data["panel"])]
    columns = min(3, len(panels))
    with style():
        fig = new_figure(PAGE_IN, 2.3 * -(-len(panels) // columns) + 0.5)
        axes = small_multiples(fig, panels, columns=columns, share_x=False, share_y=False)
        for ax, title in zip(axes, panels, strict=True):
            own = data[data["panel"] == title]
            means, floors = own[own["kind"] == "mean"], own[own["kind"] == "floor"]
            for name in wording.in_order([*means["architecture"].unique()]):
                rows = means[means["architecture"] == name].sort_values("place")
                seen = look_of(name)
                ax.plot(
                    rows["place"],
                    rows["value"],
                    color=seen["color"],
                    marker=seen["marker"],
                    linestyle=seen["linestyle"],
                    markersize=3,
                    label=wording.architecture(name),
                )
                ax.vlines(
                    rows["place"], rows["ci_low"], rows["ci_high"], color=seen["color"], lw=0.6
                )
            floors = floors.sort_values("place")
            ax.plot(floors["place"], floors["value"], color=REFERENCE, linestyle="--", lw=0.7)
            names = means.drop_duplicates("place").sort_values("place")["label"]
            ax.set_xticks(np.arange(len(names)), [*names], rotation=20)
            ax.set_ylabel("accuracy")
            count = int(means["n"].min())
            panel_note(ax, n=count, interval=wording.interval_of_means(count), scale=scale)
        fig.legend(*legend_of(fig.axes), loc="outside lower center", ncols=5)
    return fig
