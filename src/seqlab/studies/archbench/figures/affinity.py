"""Chance-corrected accuracy of every architecture on every task, and the interaction left of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from seqlab.plots.primitives import panel_note
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording

# Luminance of a cell below which its text is white.
_DARK = 0.5
_LEVEL = 0.05


def drawn(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of both panels."""
    rows = statistics[statistics["contrast"].isin(["affinity", "residual"])]
    return rows[["contrast", "task", "model", "n", "estimate", "ci_low", "ci_high", "p_holm"]]


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    with style():
        fig = new_figure(PAGE_IN, 3.2)
        axes = fig.subplots(1, 2, sharey=True)
        largest = float(data[data["contrast"] == "residual"]["estimate"].abs().max()) or 1.0
        panels = (
            ("affinity", "accuracy above the floor", "viridis", 0.0, 1.0),
            ("residual", "what both means do not explain", "PuOr", -largest, largest),
        )
        for ax, (contrast, title, colors, low, high) in zip(axes, panels, strict=True):
            own = data[data["contrast"] == contrast]
            image = _heat(ax, own, colors, low, high)
            fig.colorbar(image, ax=ax, shrink=0.8)
            ax.set_title(title, loc="left")
            tested = f"* Holm p <= {_LEVEL:g}" if contrast == "residual" else "means"
            panel_note(ax, n=int(own["n"].min()), interval=tested, scale=scale)
    return fig


def _heat(ax: Axes, own: pd.DataFrame, colors: str, low: float, high: float) -> AxesImage:
    names = wording.in_order([*own["model"].unique()])
    tasks = [*dict.fromkeys(own["task"])]
    values = own.pivot_table(index="model", columns="task", values="estimate").loc[names, tasks]
    image = ax.imshow(values, cmap=colors, vmin=low, vmax=high, aspect="auto")
    for i, name in enumerate(names):
        for j, task in enumerate(tasks):
            cell = own[(own["model"] == name) & (own["task"] == task)].iloc[0]
            red, green, blue, _ = image.cmap(image.norm(cell["estimate"]))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < _DARK
            star = "*" if cell["p_holm"] <= _LEVEL else ""
            ax.annotate(
                f"{cell['estimate']:.2f}{star}",
                (j, i),
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    ax.set_xticks(np.arange(len(tasks)), [wording.task(t) for t in tasks])
    ax.set_yticks(np.arange(len(names)), [wording.architecture(n) for n in names])
    ax.tick_params(length=0)
    return image
