"""One metric of every run by architecture and task: what the original's script plotted."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.looks import look_of

SHOWN = {
    "accuracy": "accuracy",
    "perplexity": "perplexity",
    "training_time_s": "seconds of training",
}
_LOG = ("perplexity", "training_time_s")


def draw(rows: pd.DataFrame, metric: str, label: str, *, scale: str) -> Figure:
    """Return the figure: every run, one panel per task, architectures below each other.

    Args:
        rows: Rows of `benchmark_results.csv`.
        metric: Column.
        label: Its name on the axis.
        scale: Scale of the runs.
    """
    tasks = [*dict.fromkeys(rows["task"])]
    names = wording.in_order([*rows["architecture"].unique()])
    with style():
        fig = new_figure(PAGE_IN, 0.9 + 0.2 * len(names))
        axes = fig.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for ax, task in zip(axes, tasks, strict=True):
            own = rows[rows["task"] == task]
            for place, name in enumerate(names):
                values = own[own["architecture"] == name][metric]
                seen = look_of(name)
                ax.plot(values, np.full(len(values), place), seen["marker"], color=seen["color"])
            ax.set_yticks(range(len(names)), [wording.architecture(name) for name in names])
            ax.set_ylim(len(names) - 0.4, -0.6)
            ax.set_xlabel(label)
            ax.set_title(wording.task(task), loc="left")
            if metric in _LOG:
                ax.set_xscale("log")
                plain_log_axis(ax.xaxis)
            count = int(own.groupby("architecture").size().min())
            panel_note(ax, n=count, interval="single runs", scale=scale)
    return fig
