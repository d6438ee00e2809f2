"""Step: statistics of the interventions on the caches."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.intervention.statistics import analyse


def analyse_intervention(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write contrasts, interactions and the analysis of variance."""
    found = analyse(pd.read_csv(table, keep_default_na=False, na_values=[""]), spec)
    write_text(statistics, found.to_csv(index=False))
