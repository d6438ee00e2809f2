"""Step: statistics of path dependence."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.paths.contrasts import analyse
from seqlab.studies.codesign.paths.spec import PathsAnalyseSpec


def analyse_paths(spec: PathsAnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write contrasts at equal density and equal quality, and the slopes on tiles."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
