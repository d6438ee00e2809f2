"""Share of runs that have not solved a task yet, over training steps; censored runs are marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.looks import legend_of, look_of

_KEYS = ["task", "architecture", "seed"]
_CURVE, _CENSORED = "curve", "censored"


def drawn(observations: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the Kaplan-Meier curve of the runs below 90 %, and where runs are censored.

    `step` is that from which on `share` holds.
    """
    rows = observations[
        (observations["condition"] == "training") & observations["task"].isin(tasks)
    ]
    wide = rows.pivot_table(index=_KEYS, columns="metric", values="value").reset_index()
    solved = wide["steps_to_90"] if "steps_to_90" in wide else pd.Series(np.nan, wide.index)
    runs = wide[_KEYS].assign(censored=solved.isna(), step=solved.fillna(wide["steps"]))
    ends = runs.groupby("task")["step"].max()
    parts = []
    for (task, architecture), own in runs.groupby(["task", "architecture"], sort=False):
        found = stats.ecdf(stats.CensoredData.right_censored(own["step"], own["censored"])).sf
        alive = np.array([1.0, *found.probabilities, found.probabilities[-1]])
        curve = {"kind": _CURVE, "step": [0.0, *found.quantiles, ends[task]], "share": alive}
        late = {"kind": _CENSORED, "step": own["step"][own["censored"]], "share": alive[-1]}
        labels = {"task": task, "architecture": architecture, "n": len(own)}
        parts += [pd.DataFrame(labels | kind) for kind in (curve, late)]
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per task.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    tasks = wording.tasks_in_order([*data["task"].unique()])
    with style():
        fig = new_figure(PAGE_IN, 2.6)
        axes = np.atleast_1d(fig.subplots(1, len(tasks), sharey=True))
        for ax, name in zip(axes, tasks, strict=True):
            own = data[data["task"] == name]
            for architecture in wording.in_order([*own["architecture"].unique()]):
                kinds = own[own["architecture"] == architecture].groupby("kind")
                seen = look_of(architecture)
                for kind, rows in kinds:
                    if kind == _CENSORED:
                        ax.plot(rows["step"], rows["share"], "+", color=seen["color"])
                        continue
                    ax.step(
                        rows["step"],
                        rows["share"],
                        where="post",
                        color=seen["color"],
                        linestyle=seen["linestyle"],
                        label=wording.architecture(architecture),
                    )
            ax.set_xlabel("training steps")
            ax.set_title(wording.task(name), loc="left")
            ax.set_ylim(-0.04, 1.06)
            panel_note(
                ax,
                n=int(own["n"].min()),
                interval="+ censored",
                scale=scale,
            )
        axes[0].set_ylabel("share of runs below 90 %")
        fig.legend(*legend_of(fig.axes), loc="outside lower center", ncols=5)
    return fig
