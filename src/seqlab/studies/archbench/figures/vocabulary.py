"""Recall of ids that training showed, and of those that it did not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.cells import level_rows, mean_rows
from seqlab.studies.archbench.figures.looks import legend_of, look_of

_SHIFT = 0.14


def drawn(statistics: pd.DataFrame, solvers: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Return means over all ids and among legal values alone, and the floor of each task.

    `kind` is mean, legal or floor.
    """
    parts = []
    for task in tasks:
        means = statistics[(statistics["contrast"] == "mean") & (statistics["task"] == task)]
        conditions = wording.vocabularies([*means["condition"].unique()])
        legal = mean_rows(statistics, task, metric="legal_accuracy", conditions=conditions)
        parts += [
            mean_rows(statistics, task, conditions=conditions),
            legal.assign(kind="legal"),
            level_rows(solvers, task),
        ]
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per treatment of embeddings.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    tasks = [*dict.fromkeys(data["task"])]
    with style():
        fig = new_figure(PAGE_IN, 2.7)
        axes = fig.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for ax, task in zip(axes, tasks, strict=True):
            own = data[data["task"] == task]
            means = own[own["kind"] == "mean"]
            conditions = wording.vocabularies([*means["condition"].unique()])
            names = wording.in_order([*means["architecture"].unique()])
            shifts = _SHIFT * (np.arange(len(names)) - (len(names) - 1) / 2)
            for shift, name in zip(shifts, names, strict=True):
                seen = look_of(name)
                # The hollow mark is larger and behind: both are often at one place.
                for kind, face, size in (("legal", "white", 7), ("mean", seen["color"], 3)):
                    rows = own[(own["kind"] == kind) & (own["architecture"] == name)]
                    at = rows["condition"].map(conditions.index) + shift
                    ax.vlines(at, rows["ci_low"], rows["ci_high"], color=seen["color"], lw=0.8)
                    ax.plot(
                        at,
                        rows["value"],
                        seen["marker"],
                        color=seen["color"],
                        markerfacecolor=face,
                        markersize=size,
                        label=wording.architecture(name) if kind == "mean" else None,
                    )
            floor = float(own[own["kind"] == "floor"]["value"].iloc[0])
            ax.axhline(floor, color=REFERENCE, linestyle="--", linewidth=0.6)
            ax.set_xticks(range(len(conditions)), [wording.vocabulary(c) for c in conditions])
            ax.set_xlim(-0.5, len(conditions) - 0.5)
            ax.set_ylim(-0.03, 1.06)
            ax.set_title(wording.task(task), loc="left")
            count = int(means["n"].min())
            panel_note(ax, n=count, interval=wording.interval_of_means(count), scale=scale)
        axes[0].set_ylabel("accuracy (hollow: among values)")
        fig.legend(*legend_of(fig.axes), loc="outside lower center", ncols=5)
    return fig
