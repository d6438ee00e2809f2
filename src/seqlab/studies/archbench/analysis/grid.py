"""Statistics of the main grid: nine architectures on three tasks, and what they generalise to."""

from __future__ import annotations

import pandas as pd

from seqlab.studies.archbench.analysis.affinity import affinity_rows
from seqlab.studies.archbench.analysis.comparisons import (
    pair_rows,
    planned_rows,
    solver_contrast_rows,
    variance_rows,
)
from seqlab.studies.archbench.analysis.convergence import convergence_rows
from seqlab.studies.archbench.analysis.frames import (
    ABOVE_ALONE,
    ABOVE_GREEDY,
    GLITCH_RATE,
    Row,
    require_one_device,
    runs,
)
from seqlab.studies.archbench.analysis.generalisation import (
    distance_rows,
    half_level_rows,
    transfer_rows,
)
from seqlab.studies.archbench.analysis.hypotheses import HYPOTHESES
from seqlab.studies.archbench.analysis.means import front_rows, mean_rows, solver_rows
from seqlab.studies.archbench.analysis.rows import statistics
from seqlab.studies.archbench.architectures import CONTROL, NINE
from seqlab.studies.archbench.steps_spec import AnalyseSpec
from seqlab.studies.archbench.tasks_spec import TRAINED


def analyse(observations: pd.DataFrame, solvers: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return all rows of the grid.

    Raises:
        UserError: The runs were made on several devices.
    """
    require_one_device(observations)
    found = runs(observations, solvers)
    nine = found[found["architecture"].isin(NINE)]
    names = [name for name in NINE if (found["architecture"] == name).any()]
    tasks, alpha, margin, seed = spec.tasks, spec.alpha, spec.margin, spec.seed
    rows: list[Row] = [*mean_rows(found, item="archbench_table1", alpha=alpha, seed=seed)]
    rows += front_rows(nine, tasks, item="archbench_table1", seed=seed, learned=spec.learned)
    rows += variance_rows(nine, tasks, names, item="archbench_table2", alpha=alpha, seed=seed)
    rows += pair_rows(
        nine, tasks, names, item="archbench_table3", alpha=alpha, margin=margin, seed=seed
    )
    rows += planned_rows(
        nine,
        tasks,
        HYPOTHESES,
        item="archbench_table2",
        alpha=alpha,
        margins={
            "accuracy": margin,
            GLITCH_RATE: spec.glitch_margin,
            "compute_s": spec.cost_margin,
        },
        learned=spec.learned,
    )
    rows += solver_contrast_rows(
        nine[nine["condition"] == TRAINED],
        names,
        (ABOVE_ALONE, ABOVE_GREEDY),
        item="archbench_table2",
        alpha=alpha,
        margin=margin,
    )
    rows += affinity_rows(nine, tasks, names, item="archbench_table4", alpha=alpha, margin=margin)
    rows += convergence_rows(
        nine, tasks, names, CONTROL, item="archbench_table6", alpha=alpha, seed=seed
    )
    rows += transfer_rows(
        nine,
        spec.references,
        item="archbench_table5",
        alpha=alpha,
        margin=margin,
        learned=spec.learned,
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
