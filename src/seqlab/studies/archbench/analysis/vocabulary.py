"""Statistics of recall of ids that training did not show."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from seqlab.stats.contrast import independent_contrast
from seqlab.studies.archbench.analysis.frames import Row, missing_rows, runs
from seqlab.studies.archbench.analysis.generalisation import transfer_rows
from seqlab.studies.archbench.analysis.means import mean_rows
from seqlab.studies.archbench.analysis.rows import contrast_row, correct_whole_family, statistics
from seqlab.studies.archbench.steps_spec import AnalyseSpec

_ITEM = "archbench_table10"
FROZEN, LEARNED = "mqar_frozen", "mqar_learned"


def analyse(observations: pd.DataFrame, solvers: pd.DataFrame, spec: AnalyseSpec) -> pd.DataFrame:
    """Return means, what other ids cost each model, and tasks against each other."""
    found = runs(observations, solvers)
    rows: list[Row] = [*mean_rows(found, item=_ITEM, alpha=spec.alpha, seed=spec.seed)]
    rows += transfer_rows(
        found, {}, item=_ITEM, alpha=spec.alpha, margin=spec.margin, learned=spec.learned
    )
    rows += _against(found, spec)
    rows += missing_rows(found, spec.wanted, contrast="transfer", item=_ITEM)
    return statistics(rows)


def _against(found: pd.DataFrame, spec: AnalyseSpec) -> Iterator[Row]:
    """Yield accuracy with frozen embeddings minus that with learned ones.

    Welch: tasks have training streams of their own. All contrasts of an architecture are a family.
    """
    for name, own in found.groupby("architecture", sort=False):
        members = []
        for condition, part in own.groupby("condition", sort=False):
            values = {str(task): rows["accuracy"] for task, rows in part.groupby("task")}
            # Subsets are another law. These two differ by their embeddings, and by the learning
            # rates that suit them.
            for a, b in [(FROZEN, LEARNED)] if {FROZEN, LEARNED} <= {*values} else []:
                both = independent_contrast(
                    values[a].to_numpy(), values[b].to_numpy(), margin=spec.margin, alpha=spec.alpha
                )
                members.append((condition, a, b, both))
        corrected = correct_whole_family([contrast for *_, (contrast, _) in members])
        for (condition, a, b, (_, test)), contrast in zip(members, corrected, strict=True):
            yield contrast_row(
                contrast,
                item=_ITEM,
                contrast="embeddings",
                task=a,
                condition=condition,
                model=name,
                treatment=a,
                control=b,
                metric="accuracy",
                provenance="measured",
                device=own["device"].iloc[0],
                hedges_g=test.hedges_g,
                cliffs_delta=test.cliffs_delta,
            )
