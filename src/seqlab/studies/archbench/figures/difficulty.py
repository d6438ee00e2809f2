"""Accuracy above the floor by level: trained at the level, and trained at one, tested at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from seqlab.plots.primitives import panel_note, plain_log_axis
from seqlab.plots.style import PAGE_IN, REFERENCE, new_figure, style
from seqlab.studies.archbench import wording
from seqlab.studies.archbench.analysis.frames import CORRECTED, runs
from seqlab.studies.archbench.figures.cells import mean_rows
from seqlab.studies.archbench.figures.looks import legend_of, look_of
from seqlab.studies.archbench.steps_spec import LevelsSpec
from seqlab.studies.archbench.tasks_spec import TRAINED

_HALF = 0.5


def drawn(
    statistics: pd.DataFrame,
    observations: pd.DataFrame,
    solvers: pd.DataFrame,
    levels: Mapping[str, LevelsSpec],
) -> pd.DataFrame:
    """Return runs and means by level; `kind` is run, trained (means) or tested (means).

    Args:
        statistics: Of the experiment.
        observations: Of its runs.
        solvers: What solvers reach.
        levels: Task -> how hard it is made.
    """
    single = runs(observations, solvers)
    # Levels that were not run have no architecture.
    statistics = statistics.dropna(subset="model")
    parts = []
    for name, series in levels.items():
        for task, level in series.trained.items():
            means = mean_rows(statistics, task, metric=CORRECTED)
            own = single[(single["task"] == task) & (single["condition"] == TRAINED)]
            own = own.rename(columns={CORRECTED: "value"})[["architecture", "seed", "value"]]
            parts.append(means.assign(kind="trained", level=level, series=name, unit=series.unit))
            parts.append(own.assign(kind="run", level=level, series=name, unit=series.unit))
        means = mean_rows(statistics, name, metric=CORRECTED, conditions=[*series.tested])
        at = means["condition"].map(series.tested)
        parts.append(means.assign(kind="tested", level=at, series=name, unit=series.unit))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def draw(data: pd.DataFrame, *, scale: str) -> Figure:
    """Return the figure, one panel per task.

    Args:
        data: Rows of `drawn`.
        scale: Scale of the runs.
    """
    series = wording.tasks_in_order([*data["series"].unique()])
    with style():
        fig = new_figure(PAGE_IN, 2.8)
        axes = fig.subplots(1, len(series), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, series, strict=True):
            own = data[data["series"] == name]
            names = wording.in_order([*own["architecture"].unique()])
            for factor, architecture in zip(_dodge(len(names)), names, strict=True):
                seen = look_of(architecture)
                rows = own[own["architecture"] == architecture]
                single = rows[rows["kind"] == "run"]
                ax.plot(single["level"] * factor, single["value"], "_", color=seen["color"], ms=4)
                for kind, face, line in (
                    ("trained", seen["color"], seen["linestyle"]),
                    ("tested", "white", ":"),
                ):
                    means = rows[rows["kind"] == kind].sort_values("level")
                    at = means["level"] * factor
                    ax.vlines(at, means["ci_low"], means["ci_high"], color=seen["color"], lw=0.8)
                    ax.plot(
                        at,
                        means["value"],
                        color=seen["color"],
                        marker=seen["marker"],
                        markerfacecolor=face,
                        linestyle=line,
                        label=wording.architecture(architecture) if kind == "trained" else None,
                    )
            for level in (0.0, _HALF):
                ax.axhline(level, color=REFERENCE, linestyle="--", linewidth=0.6)
            ax.set_xscale("log", base=2)
            plain_log_axis(ax.xaxis)
            ax.set_xticks(sorted(own["level"].unique()), minor=False)
            ax.set_xlabel(own["unit"].iloc[0])
            ax.set_title(wording.task(name), loc="left")
            count = int(own[own["kind"] == "trained"]["n"].min())
            panel_note(ax, n=count, interval=wording.interval_of_means(count), scale=scale)
        axes[0].set_ylabel("accuracy above the floor")
        fig.legend(*legend_of(fig.axes), loc="outside lower center", ncols=5)
    return fig


def _dodge(count: int) -> np.ndarray:
    """Return factors that set architectures apart on a logarithmic axis."""
    return np.exp(0.04 * (np.arange(count) - (count - 1) / 2))
