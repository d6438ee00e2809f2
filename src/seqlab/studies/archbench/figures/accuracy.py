"""Accuracy of every architecture on every task: each run, the mean and its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.looks import look_of

_DODGE = 0.16


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per task.

    Args:
        data: Rows of `cells.cell_rows`.
        scale: Scale of the runs.
    """
    tasks = [*dict.fromkeys(data["task"])]
    # All panels have the lines of the first, whose names they go by.
    names = wording.in_order([*data["architecture"].dropna().unique()])
    with style():
        fig = new_figure(PAGE_IN, 2.7)
        axes = np.atleast_1d(fig.subplots(1, len(tasks), sharey=True))
        for ax, name in zip(axes, tasks, strict=True):
            own = data[data["task"] == name]
            for place, architecture in enumerate(names):
                rows = own[own["architecture"] == architecture]
                if rows.empty:
                    middle = ax.get_yaxis_transform()
                    ax.text(
                        0.5,
                        place,
                        "not run",
                        transform=middle,
                        ha="center",
                        va="center",
                        color=REFERENCE,
                    )
                    continue
                color = look_of(architecture)["color"]
                runs, mean = rows[rows["kind"] == "run"]["value"], rows[rows["kind"] == "mean"]
                ax.plot(runs, np.full(len(runs), place + _DODGE), "|", color=color, markersize=4)
                ax.plot(
                    mean["value"], [place - _DODGE] * len(mean), "o", color=color, markersize=3.5
                )
                ax.hlines(
                    [place - _DODGE] * len(mean), mean["ci_low"], mean["ci_high"], color=color
                )
            for kind, line in (("floor", "--"), ("greedy", ":")):
                level = own[own["kind"] == kind]["value"]
                if len(level):
                    ax.axvline(level.iloc[0], color=REFERENCE, linestyle=line, linewidth=0.8)
                    ax.annotate(
                        kind,
                        (level.iloc[0], 1.0),
                        xycoords=ax.get_xaxis_transform(),
                        xytext=(2, -2),
                        textcoords="offset points",
                        va="top",
                        color=REFERENCE,
                    )
            ax.set_xlabel("accuracy")
            ax.set_title(wording.task(name), loc="left")
            count = int(own[own["kind"] == "mean"]["n"].min())
            panel_note(ax, n=count, interval=wording.interval_of_means(count), scale=scale)
        axes[0].set_yticks(range(len(names)), [wording.architecture(n) for n in names])
        axes[0].set_ylim(len(names) - 0.4, -0.9)
    return fig
