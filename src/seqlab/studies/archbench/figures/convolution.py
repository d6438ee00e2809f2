"""Short convolution and mixer, crossed: accuracy with and without, by layout of the task."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.looks import look_of

_PLACES = {"none": 0, "all": 1}


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per layout of the task.

    Args:
        data: Rows of `cells.cell_rows`.
        scale: Scale of the runs.
    """
    tasks = [*dict.fromkeys(data["task"])]
    with style():
        fig = new_figure(PAGE_IN, 2.7)
        axes = np.atleast_1d(fig.subplots(1, len(tasks), sharey=True))
        for ax, task in zip(axes, tasks, strict=True):
            own = data[data["task"] == task]
            names = wording.in_order([*own["architecture"].dropna().unique()])
            for shift, name in zip(np.linspace(-0.12, 0.12, len(names)), names, strict=True):
                seen = look_of(name)
                rows = own[own["architecture"] == name]
                runs = rows[rows["kind"] == "run"]
                at = runs["local"].map(_PLACES) + shift
                ax.plot(at, runs["value"], "_", color=seen["color"], markersize=5, alpha=0.6)
                means = rows[rows["kind"] == "mean"].sort_values("local", ascending=False)
                at = means["local"].map(_PLACES) + shift
                ax.vlines(at, means["ci_low"], means["ci_high"], color=seen["color"])
                ax.plot(
                    at,
                    means["value"],
                    color=seen["color"],
                    marker=seen["marker"],
                    linestyle=seen["linestyle"],
                    label=wording.architecture(name),
                )
            floor = float(own[own["kind"] == "floor"]["value"].iloc[0])
            ax.axhline(floor, color=REFERENCE, linestyle="--", linewidth=0.6)
            ax.set_xticks([0, 1], ["no convolution", "short convolution"])
            ax.set_xlim(-0.4, 1.4)
            ax.set_ylim(-0.03, 1.06)
            ax.set_title(wording.task(task), loc="left")
            count = int(own[own["kind"] == "mean"]["n"].min())
            panel_note(ax, n=count, interval=wording.interval_of_means(count), scale=scale)
        axes[0].set_ylabel("accuracy")
        axes[-1].legend(loc="lower right")
    return fig
