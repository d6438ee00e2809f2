"""Step: statistics of the cache profiles."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import AnalyseSpec
from seqlab.studies.codesign.profiles.statistics import analyse


def analyse_profiles(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write one row per contrast, architecture and profile."""
    write_text(statistics, analyse(pd.read_csv(table), spec).to_csv(index=False))
