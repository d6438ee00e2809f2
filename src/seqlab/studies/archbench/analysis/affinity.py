"""Which architecture suits which task: chance-corrected means and what is left of them after both
means are taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from seqlab.stats.contrast import paired_contrast
from seqlab.studies.archbench.analysis.frames import CORRECTED, Row, trained_runs
from seqlab.studies.archbench.analysis.rows import contrast_row, correct_whole_family
from seqlab.studies.archbench.tasks_spec import TRAINED

FloatArray = NDArray[np.float64]


def residuals(means: FloatArray) -> FloatArray:
    """Return M - row mean - column mean + grand mean over the last two axes."""
    rows = means.mean(-1, keepdims=True)
    columns = means.mean(-2, keepdims=True)
    return np.asarray(means - rows - columns + means.mean((-2, -1), keepdims=True))


def affinity_rows(
    found: pd.DataFrame,
    tasks: Sequence[str],
    names: Sequence[str],
    *,
    item: str,
    alpha: float,
    margin: float,
) -> Iterator[Row]:
    """Yield means, residuals with tests over seeds (Holm over all cells) and rank correlations.

    A seed is one stream of training data for every architecture: residuals are those within it.
    """
    cube, complete, seeds = _cube(found, tasks, names)
    if len(complete) < 2 or seeds < 2:
        return
    device = str(found["device"].iloc[0])
    means = cube.mean(0)
    each = residuals(cube)
    tested = [
        paired_contrast(each[:, i, j], np.zeros(seeds), margin=margin, alpha=alpha)
        for i, j in np.ndindex(means.shape)
    ]
    contrasts = np.array(correct_whole_family(tested), dtype=object).reshape(means.shape)
    common = {
        "item": item,
        "metric": CORRECTED,
        "provenance": "measured",
        "device": device,
        "n": seeds,
    }
    for i, name in enumerate(names):
        for j, task in enumerate(complete):
            labels = {"task": task, "condition": TRAINED, "model": name, "treatment": name}
            yield common | labels | {"contrast": "affinity", "estimate": means[i, j]}
            yield contrast_row(contrasts[i, j], **common, **labels, contrast="residual")
        yield common | {
            "task": "all",
            "condition": TRAINED,
            "model": name,
            "treatment": name,
            "contrast": "specialisation",
            "estimate": means[i].max() - means[i].mean(),
        }
    for a, b in combinations(range(len(complete)), 2):
        rho = stats.spearmanr(means[:, a], means[:, b])
        yield common | {
            "task": complete[a],
            "condition": TRAINED,
            "model": "",
            "treatment": complete[a],
            "control": complete[b],
            "contrast": "rank_correlation",
            "n": len(names),
            "estimate": float(rho.statistic),
            "p_raw": float(rho.pvalue),
            "test": "Spearman over architectures",
        }


def _cube(
    found: pd.DataFrame, wanted: Sequence[str], names: Sequence[str]
) -> tuple[FloatArray, list[str], int]:
    """Return corrected accuracies (seeds, architectures, tasks) of the tasks that have all."""
    layers, tasks = [], []
    for task in wanted:
        part = trained_runs(found, task)
        wide = part.pivot_table(index="seed", columns="architecture", values=CORRECTED)
        if set(names) <= set(wide.columns):
            layers.append(wide[list(names)].dropna().to_numpy())
            tasks.append(task)
    seeds = min((len(layer) for layer in layers), default=0)
    if not layers:
        return np.empty((0, 0, 0)), [], 0
    return np.stack([layer[:seeds] for layer in layers], axis=-1), tasks, seeds
