"""Step: correlations and mediation over layouts."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.layouts.spec import LayoutsAnalyseSpec
from seqlab.studies.codesign.layouts.statistics import analyse


def analyse_layouts(spec: LayoutsAnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write one row per statistic, cell and device."""
    found = analyse(pd.read_csv(table, keep_default_na=False, na_values=[""]), spec)
    write_text(statistics, found.to_csv(index=False))
