"""Differences of accuracy from the control with their Hedges g, one panel per task."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqlab.plots.primitives import forest, panel_note
from seqlab.plots.style import PAGE_IN, SMALLEST_TEXT_PT, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.architectures import CONTROL

# Values of Hedges g beyond it are not written out.
_LARGE = 10.0


def drawn(statistics: pd.DataFrame) -> pd.DataFrame:
    """Return differences of accuracy from the control, treatment minus control."""
    rows = statistics[
        (statistics["contrast"] == "pair")
        & ((statistics["treatment"] == CONTROL) | (statistics["control"] == CONTROL))
    ]
    turned = rows["treatment"] == CONTROL
    sign = np.where(turned, -1, 1)
    opposite = {"lower": "higher", "higher": "lower"}
    return pd.DataFrame(
        {
            "task": rows["task"],
            "model": np.where(turned, rows["control"], rows["treatment"]),
            "n": rows["n"],
            "estimate": sign * rows["estimate"],
            "ci_low": np.where(turned, -rows["ci_high"], rows["ci_low"]),
            "ci_high": np.where(turned, -rows["ci_low"], rows["ci_high"]),
            "hedges_g": sign * rows["hedges_g"],
            "verdict": [
                opposite.get(v, v) if t else v for v, t in zip(rows["verdict"], turned, strict=True)
            ],
            "provenance": rows["provenance"],
        }
    ).reset_index(drop=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    tasks = [*dict.fromkeys(data["task"])]
    with style():
        fig = new_figure(PAGE_IN, 2.6)
        axes = fig.subplots(1, len(tasks), squeeze=False)[0]
        names: list[list[str]] = []
        for ax, task in zip(axes, tasks, strict=True):
            own = data[data["task"] == task]
            own = own.iloc[np.argsort([wording.ORDER.index(name) for name in own["model"]])]
            names.append([*own["model"]])
            forest(ax, own.assign(label=own["model"].map(wording.architecture)), words=False)
            _sizes(ax, own["hedges_g"])
            # Named once, where all panels have the same lines.
            ax.tick_params(labelleft=len(names) == 1 or names[-1] != names[0])
            ax.set_xlabel(f"accuracy minus that of {wording.architecture(CONTROL)}")
            ax.set_title(wording.task(task), loc="left")
            panel_note(ax, n=int(own["n"].min()), interval="95 % Welch CI", scale=scale)
    return fig


def _sizes(ax: Axes, sizes: pd.Series) -> None:
    """Write Hedges g at the right of each line, top to bottom."""
    rows = [(len(sizes), "Hedges g")]
    rows += [(y, _size(g)) for y, g in zip(range(len(sizes))[::-1], sizes, strict=True)]
    for y, text in rows:
        ax.annotate(
            text,
            (1.02, y),
            xycoords=ax.get_yaxis_transform(),
            va="center",
            fontsize=SMALLEST_TEXT_PT,
            annotation_clip=False,
        )


def _size(g: float) -> str:
    """Return Hedges g; runs that hardly differ make it as large as one likes."""
    if g != g:
        return ""
    if abs(g) < _LARGE:
        return f"{g:+.1f}"
    return f"{'<' if g < 0 else '>'} {np.copysign(_LARGE, g):+.0f}"
