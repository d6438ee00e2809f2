"""Statistics of the factorial experiment."""

from __future__ import annotations

import pandas as pd

from seqlab.studies.archbench.analysis.factorial import factorial_rows
from seqlab.studies.archbench.analysis.frames import Row, missing_rows, runs
from seqlab.studies.archbench.analysis.means import mean_rows
from seqlab.studies.archbench.analysis.rows import statistics
from seqlab.studies.archbench.architectures import CONTROL
from seqlab.studies.archbench.steps_spec import AnalyseSpec
from seqlab.studies.archbench.tasks_spec import TRAINED


def analyse(observations: pd.DataFrame, solvers: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return means and contrasts of the crossed design."""
    found = runs(observations, solvers)
    found = found[found["condition"] == TRAINED]
    rows: list[Row] = [*mean_rows(found, item="archbench_table8", alpha=spec.alpha, seed=spec.seed)]
    rows += factorial_rows(
        found,
        spec.tasks,
        CONTROL,
        item="archbench_table8",
        alpha=spec.alpha,
        margin=spec.margin,
        learned=spec.learned,
    )
    rows += missing_rows(found, spec.wanted, contrast="convolution", item="archbench_table8")
    return statistics(rows)
