"""Perplexity of the answers under every condition; colour is its logarithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.tasks_spec import TRAINED

# What is shown at most; beyond, the exact number says nothing.
_CAP = 1e4


def drawn(
    statistics: pd.DataFrame, tasks: Sequence[str], labels: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
    """Return mean perplexities, task by task and the training condition first.

    Args:
        statistics: Of the grid.
        tasks: Tasks in order.
        labels: Task -> condition -> its law in short.
    """
    rows = statistics[(statistics["contrast"] == "mean") & (statistics["metric"] == "perplexity")]
    laws = [_law(labels[t], c) for t, c in zip(rows["task"], rows["condition"], strict=True)]
    found = rows.assign(
        label=laws, place=rows["task"].map(tasks.index), other=rows["condition"] != TRAINED
    ).sort_values(["place", "other", "condition"], kind="stable")
    return found[["task", "condition", "label", "model", "n", "estimate"]]


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure: architectures in rows, conditions in columns.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    laws = dict(zip(zip(data["task"], data["condition"], strict=True), data["label"], strict=True))
    columns = [*laws]
    names = wording.in_order([*data["model"].unique()])
    table = data.pivot_table(index="model", columns=["task", "condition"], values="estimate")
    values = table.reindex(index=names, columns=columns).to_numpy().clip(max=_CAP)
    with style():
        fig = new_figure(PAGE_IN, 3.4)
        ax = fig.subplots()
        image = ax.imshow(np.log10(values), cmap="cividis", aspect="auto", vmin=0)
        shades = np.asarray(image.cmap(image.norm(np.log10(values))))
        for (i, j), value in np.ndenumerate(values):
            ax.annotate(
                _text(value),
                (j, i),
                ha="center",
                va="center",
                fontsize=6,
                color="white" if _dark(shades[i, j]) else "black",
            )
        labels = [f"{wording.task(task)}\n{law}" for (task, _), law in laws.items()]
        ax.set_xticks(range(len(columns)), labels, rotation=60, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(names)), [wording.architecture(name) for name in names])
        ax.tick_params(length=0)
        ax.set_title("perplexity of the answers", loc="left")
        panel_note(ax, n=int(data["n"].min()), interval="means", scale=scale)
    return fig


def _text(perplexity: float) -> str:
    if np.isnan(perplexity):
        return "–"  # not run on this task
    return f"{perplexity:.3g}" if perplexity < _CAP else ">1e4"


def _dark(color: np.ndarray) -> bool:
    """Tell whether black is unreadable on a colour; what is transparent shows white paper."""
    red, green, blue, alpha = color
    return alpha > 0 and 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def _law(labels: Mapping[str, str], condition: str) -> str:
    """Return the law of a condition, and its name where the short form is that of another, too."""
    law = labels[condition]
    alone = condition == TRAINED or [*labels.values()].count(law) == 1
    return law if alone else f"{law} {condition}"
