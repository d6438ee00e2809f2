"""Validation accuracy while training: median and quartiles over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.architectures import BASELINES
from seqlab.studies.archbench.figures.cells import level_rows
from seqlab.studies.archbench.figures.looks import legend_of, look_of


def drawn(curves: pd.DataFrame, solvers: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """Return median and quartiles per step, and the floor of each task.

    A run that stopped early, because it had solved the task, keeps its last accuracy.
    """
    parts = []
    for task in tasks:
        own = curves[curves["task"] == task]
        steps = np.unique(own["step"])
        for architecture, rows in own.groupby("architecture", sort=False):
            wide = rows.pivot_table(index="step", columns="seed", values="accuracy")
            wide = wide.reindex(steps).ffill()
            low, middle, high = np.nanquantile(wide.to_numpy(), [0.25, 0.5, 0.75], axis=1)
            parts.append(
                pd.DataFrame(
                    {
                        "task": task,
                        "architecture": architecture,
                        "step": steps,
                        "n": wide.shape[1],
                        "low": low,
                        "median": middle,
                        "high": high,
                    }
                )
            )
        floor = level_rows(solvers, task)["value"]
        parts.append(pd.DataFrame({"task": [task], "architecture": [""], "median": [*floor]}))
    return pd.concat(parts, ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: tasks in columns, baselines above modern architectures.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    tasks = [*dict.fromkeys(data["task"])]
    known = [name for name in data["architecture"].unique() if name]
    groups = (
        ("baselines", [n for n in wording.in_order(known) if n in BASELINES]),
        ("modern", [n for n in wording.in_order(known) if n not in BASELINES]),
    )
    with style():
        fig = new_figure(PAGE_IN, 4.2)
        axes = fig.subplots(2, len(tasks), sharex="col", sharey="col", squeeze=False)
        for row, (group, names) in zip(axes, groups, strict=True):
            for ax, task in zip(row, tasks, strict=True):
                own = data[data["task"] == task]
                for name in names:
                    rows = own[own["architecture"] == name]
                    if rows.empty:
                        continue
                    seen = look_of(name)
                    ax.fill_between(
                        rows["step"],
                        rows["low"],
                        rows["high"],
                        color=seen["color"],
                        alpha=0.15,
                        lw=0,
                    )
                    ax.plot(
                        rows["step"],
                        rows["median"],
                        color=seen["color"],
                        linestyle=seen["linestyle"],
                        label=wording.architecture(name),
                    )
                floor = float(own[own["architecture"] == ""]["median"].iloc[0])
                ax.axhline(floor, color=REFERENCE, linestyle="--", linewidth=0.6)
                ax.set_title(f"{wording.task(task)}, {group}", loc="left")
                panel_note(ax, n=int(own["n"].min()), interval="quartiles", scale=scale)
        for ax in axes[-1]:
            ax.set_xscale("log")
            plain_log_axis(ax.xaxis)
            ax.set_xlabel("training steps")
        for row in axes:
            row[0].set_ylabel("validation accuracy")
            row[-1].legend(*legend_of(row), loc="lower right")
    return fig
