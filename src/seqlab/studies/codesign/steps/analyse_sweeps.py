"""Step: statistics of the sweeps."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.sweeps.spec import SweepsAnalyseSpec
from seqlab.studies.codesign.sweeps.statistics import analyse


def analyse_sweeps(spec: SweepsAnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write one row per contrast, level and metric, and the shapes of the curves."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
