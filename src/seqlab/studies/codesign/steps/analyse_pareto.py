"""Step: statistics of the trade-off between latency and quality."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.pareto.contrasts import analyse
from seqlab.studies.codesign.pareto.spec import ParetoAnalyseSpec


def analyse_pareto(spec: ParetoAnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write contrasts, predictions, front and hypervolumes."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
