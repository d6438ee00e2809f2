"""Statistics of models that are trained at each level of a task."""

from __future__ import annotations

import pandas as pd

from seqlab.studies.archbench.analysis.frames import CORRECTED, NOT_RUN, Row, missing_rows, runs
from seqlab.studies.archbench.analysis.generalisation import half_level_rows
from seqlab.studies.archbench.analysis.means import mean_rows
from seqlab.studies.archbench.analysis.rows import statistics
from seqlab.studies.archbench.steps_spec import AnalyseSpec
from seqlab.studies.archbench.tasks_spec import TRAINED


def analyse(observations: pd.DataFrame, solvers: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return means at every level, and the levels at which half of the accuracy is left."""
    found = runs(observations, solvers)
    item = "archbench_table11"
    rows: list[Row] = [*mean_rows(found, item=item, alpha=spec.alpha, seed=spec.seed)]
    home = found[found["condition"] == TRAINED]
    for task, levels in spec.levels.items():
        rows += [
            {
                "item": item,
                "contrast": "mean",
                "task": name,
                "condition": TRAINED,
                "treatment": "all",
                "metric": CORRECTED,
                **NOT_RUN,
            }
            for name in levels.trained
            if name not in spec.tasks
        ]
        rows += half_level_rows(
            home,
            levels.trained,
            "task",
            contrast="half_level",
            task=task,
            item=item,
            seed=spec.seed,
            alpha=spec.alpha,
        )
    rows += missing_rows(found, spec.wanted, contrast="mean", item=item)
    return statistics(rows)
