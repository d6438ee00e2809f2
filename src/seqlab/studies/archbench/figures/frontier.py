"""Accuracy against what it costs: time of training, and the state that decoding keeps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.figures.cells import mean_rows
from seqlab.studies.archbench.figures.looks import legend_of, look_of

COSTS = {"compute_s": "seconds of training", "state_bytes": "bytes of state"}


def drawn(
    statistics: pd.DataFrame, observations: pd.DataFrame, tasks: Sequence[str]
) -> pd.DataFrame:
    """Return mean accuracy and mean costs per task and architecture, with intervals."""
    front = statistics[statistics["contrast"] == "front"]
    state = (
        observations[
            (observations["condition"] == "training") & (observations["metric"] == "state_bytes")
        ]
        .groupby(["task", "architecture"])["value"]
        .first()
    )
    rows = []
    for task in tasks:
        cost = mean_rows(statistics, task, metric="compute_s").set_index("architecture")
        for _, mean in mean_rows(statistics, task).iterrows():
            name = mean["architecture"]
            place = front[(front["task"] == task) & (front["model"] == name)]
            rows.append(
                {
                    "task": task,
                    "architecture": name,
                    "n": mean["n"],
                    "accuracy": mean["value"],
                    "accuracy_low": mean["ci_low"],
                    "accuracy_high": mean["ci_high"],
                    "compute_s": cost.loc[name, "value"],
                    "compute_s_low": cost.loc[name, "ci_low"],
                    "compute_s_high": cost.loc[name, "ci_high"],
                    "state_bytes": state[task, name],
                    "on_front": bool(len(place)) and place["verdict"].iloc[0] == "on the front",
                }
            )
    return pd.DataFrame(rows)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: costs in rows, tasks in columns.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    tasks = [*dict.fromkeys(data["task"])]
    with style():
        fig = new_figure(PAGE_IN, 4.4)
        axes = fig.subplots(len(COSTS), len(tasks), sharey="col", squeeze=False)
        for row, (cost, label) in zip(axes, COSTS.items(), strict=True):
            for ax, task in zip(row, tasks, strict=True):
                _panel(ax, data[data["task"] == task], cost)
                ax.set_xlabel(label)
                ax.set_title(wording.task(task), loc="left")
                count = int(data["n"].min())
                panel_note(ax, n=count, interval=wording.interval_of_means(count), scale=scale)
            row[0].set_ylabel("accuracy")
        fig.legend(*legend_of(fig.axes), loc="outside lower center", ncols=5)
    return fig


def _panel(ax: Axes, own: pd.DataFrame, cost: str) -> None:
    if cost == "compute_s":
        front = own[own["on_front"]].sort_values(cost)
        ax.plot(
            front[cost], front["accuracy"], drawstyle="steps-post", color=REFERENCE, linewidth=0.8
        )
    for name in wording.in_order([*own["architecture"]]):
        row = own[own["architecture"] == name].iloc[0]
        seen = look_of(row["architecture"])
        ax.vlines(row[cost], row["accuracy_low"], row["accuracy_high"], color=seen["color"])
        if cost == "compute_s":
            ax.hlines(
                row["accuracy"], row["compute_s_low"], row["compute_s_high"], color=seen["color"]
            )
        ax.plot(
            row[cost],
            row["accuracy"],
            seen["marker"],
            color=seen["color"],
            label=wording.architecture(row["architecture"]),
        )
        if cost == "compute_s" and row["on_front"]:
            ax.annotate(
                wording.architecture(row["architecture"]),
                (row[cost], row["accuracy"]),
                xytext=(3, -7),
                textcoords="offset points",
                color=seen["color"],
            )
    ax.set_xscale("log")
    # States span decades; their numbers are long.
    plain_log_axis(ax.xaxis, each=(1.0, 2.0, 5.0) if cost == "compute_s" else (1.0,))
