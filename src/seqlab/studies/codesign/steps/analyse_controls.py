"""Step: statistics of the layout controls."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.controls.contrasts import analyse
from seqlab.studies.codesign.controls.spec import AnalyseSpec


def analyse_controls(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write one row per contrast and metric."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
