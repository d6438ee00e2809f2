"""Step: statistics of Figure 3."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.synthetic.contrasts import analyse
from seqlab.studies.codesign.synthetic.spec import AnalyseSpec


def analyse_synthetic(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write one row per contrast."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
