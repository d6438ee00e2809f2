"""Step: statistics of Figure 2."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.quantization.contrasts import analyse, summarise
from seqlab.studies.codesign.quantization.spec import AnalyseSpec


def analyse_quantization(spec: AnalyseSpec, *, table: In, statistics: Out, summary: Out) -> None:
    """Write one row per contrast (`statistics`) and the original study's `summary`."""
    observations = pd.read_csv(table)
    result = analyse(observations, spec)
    write_text(statistics, result.to_csv(index=False))
    write_text(summary, summarise(observations, result).to_csv(index=False))
