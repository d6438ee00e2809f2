"""Step: statistics of the ablations."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.ablations.contrasts import analyse
from seqlab.studies.codesign.experiment import AnalyseSpec


def analyse_ablations(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write one row per contrast, place and metric."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
