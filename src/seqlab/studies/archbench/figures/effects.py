"""Differences of accuracy from the control with their Hedges g, one panel per task."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import forest, panel_note
from seqlab.plots.style import PAGE_IN, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.architectures import CONTROL


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
        for ax, task in zip(axes, tasks, strict=True):
            own = data[data["task"] == task]
            own = own.iloc[np.argsort([wording.ORDER.index(name) for name in own["model"]])]
            sizes = ["" if g != g else f"  g {g:+.1f}" for g in own["hedges_g"]]
            labels = [
                f"{wording.architecture(n)}{g}" for n, g in zip(own["model"], sizes, strict=True)
            ]
            forest(ax, own.assign(label=labels), words=False)
            ax.set_xlabel(f"accuracy minus that of {wording.architecture(CONTROL)}")
            ax.set_title(wording.task(task), loc="left")
            panel_note(ax, n=int(own["n"].min()), interval="95 % Welch CI", scale=scale)
    return fig
