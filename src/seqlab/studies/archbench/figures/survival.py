"""Share of runs that have not solved a task yet, over training steps; censored runs are marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.looks import look_of

_KEYS = ["task", "architecture", "seed"]


def drawn(observations: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Return per run the step at which it reached 90 %, or its last one where it did not."""
    rows = observations[
        (observations["condition"] == "training") & observations["task"].isin(tasks)
    ]
    wide = rows.pivot_table(index=_KEYS, columns="metric", values="value", dropna=False)
    wide = wide.reset_index()
    solved = wide["steps_to_90"] if "steps_to_90" in wide else pd.Series(np.nan, wide.index)
    return wide[_KEYS].assign(solved=solved.notna(), step=solved.fillna(wide["steps"]).astype(int))


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
            end = int(own["step"].max())
            for architecture in wording.in_order([*own["architecture"].unique()]):
                rows = own[own["architecture"] == architecture]
                steps, alive = _steps(rows, end)
                seen = look_of(architecture)
                ax.step(
                    steps,
                    alive,
                    where="post",
                    color=seen["color"],
                    linestyle=seen["linestyle"],
                    label=wording.architecture(architecture),
                )
                censored = rows[~rows["solved"]]["step"]
                if len(censored):
                    ax.plot(censored, [alive[-1]] * len(censored), "+", color=seen["color"])
            ax.set_xlabel("training steps")
            ax.set_title(wording.task(name), loc="left")
            ax.set_ylim(-0.04, 1.06)
            panel_note(
                ax,
                n=int(own.groupby("architecture").size().min()),
                interval="+ censored",
                scale=scale,
            )
        axes[0].set_ylabel("share of runs below 90 %")
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=5)
    return fig


def _steps(rows: pd.DataFrame, end: int) -> tuple[list[float], list[float]]:
    """Return the Kaplan-Meier curve of runs that are all censored at the end of their budget."""
    steps, alive = [0.0], [1.0]
    at_risk, share = len(rows), 1.0
    for step, group in rows.sort_values("step").groupby("step"):
        solved = int(group["solved"].sum())
        if solved:
            share *= 1 - solved / at_risk
            steps.append(float(step))
            alive.append(share)
        at_risk -= len(group)
    return [*steps, float(end)], [*alive, share]
