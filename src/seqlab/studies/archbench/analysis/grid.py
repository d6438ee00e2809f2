"""Statistics of the main grid: nine architectures on three tasks, and what they generalise to."""

from __future__ import annotations

import pandas as pd

from seqlab.studies.archbench.analysis.affinity import affinity_rows
from seqlab.studies.archbench.analysis.comparisons import (
    Planned,
    pair_rows,
    planned_rows,
    variance_rows,
)
from seqlab.studies.archbench.analysis.convergence import convergence_rows
from seqlab.studies.archbench.analysis.frames import Row, runs, statistics
from seqlab.studies.archbench.analysis.generalisation import (
    distance_rows,
    half_level_rows,
    transfer_rows,
)
from seqlab.studies.archbench.analysis.means import front_rows, mean_rows, solver_rows
from seqlab.studies.archbench.architectures import BASELINES, MODERN, NINE
from seqlab.studies.archbench.steps_spec import AnalyseSpec

CONTROL = "rope"
_ATTENTION = ("vanilla", "rope")
_RECURRENT = ("lstm", "gru")
# The study's expectations, as it stated them before its runs (archbench.md 0).
HYPOTHESES = (
    Planned("h0_modern_match_attention", None, MODERN, _ATTENTION),
    Planned("h1_recall", "mqar", ("rope", "retention", "deltanet"), _RECURRENT),
    Planned("h2_flip_flop", "flip_flop", ("rwkv7", "gla", "rope"), ("vanilla",)),
    Planned("h3_knapsack", "knapsack", _ATTENTION, (*_RECURRENT, *MODERN)),
    Planned("modern_against_baselines", None, MODERN, BASELINES),
    Planned("recurrent_against_attention", "flip_flop", _RECURRENT, _ATTENTION),
)


def analyse(observations: pd.DataFrame, solvers: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return all rows of the grid."""
    found = runs(observations, solvers)
    nine = found[found["architecture"].isin(NINE)]
    names = [name for name in NINE if (found["architecture"] == name).any()]
    tasks, alpha, margin, seed = spec.tasks, spec.alpha, spec.margin, spec.seed
    rows: list[Row] = [*mean_rows(found, item="archbench_table1", alpha=alpha, seed=seed)]
    rows += front_rows(nine, tasks, item="archbench_table1", seed=seed)
    rows += variance_rows(nine, tasks, names, item="archbench_table2", alpha=alpha, seed=seed)
    rows += pair_rows(nine, tasks, names, item="archbench_table3", alpha=alpha, margin=margin)
    rows += planned_rows(
        nine, tasks, HYPOTHESES, item="archbench_table2", alpha=alpha, margin=margin
    )
    rows += affinity_rows(nine, tasks, names, item="archbench_table4", alpha=alpha, margin=margin)
    rows += convergence_rows(nine, tasks, names, CONTROL, item="archbench_table6", alpha=alpha)
    rows += transfer_rows(
        nine, spec.references, item="archbench_table5", alpha=alpha, margin=margin
    )
    distances = {task: spec.distances[task] for task in tasks if task in spec.distances}
    rows += distance_rows(
        nine, distances, item="archbench_table14", alpha=alpha, margin=margin, seed=seed
    )
    rows += solver_rows(solvers, tasks, item="archbench_table13")
    for task, levels in spec.levels.items():
        rows += half_level_rows(
            nine[nine["task"] == task],
            levels.tested,
            "condition",
            contrast="half_load",
            task=task,
            item="archbench_table7",
            seed=seed,
            alpha=alpha,
        )
    return statistics(rows)
