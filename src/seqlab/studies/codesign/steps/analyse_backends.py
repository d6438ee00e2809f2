"""Step: statistics of the comparison with compilers."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.backends.statistics import analyse
from seqlab.studies.codesign.experiment import AnalyseSpec


def analyse_backends(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write contrasts by compiler, and the interaction of layout and fusion."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
