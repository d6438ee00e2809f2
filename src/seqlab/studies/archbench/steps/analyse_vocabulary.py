"""Step: statistics of recall of ids that training did not show."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.analysis.vocabulary import analyse
from seqlab.studies.archbench.steps_spec import AnalyseSpec


def analyse_vocabulary(spec: AnalyseSpec, *, table: In, solvers: In, statistics: Out) -> None:
    """Write means, transfers and what embeddings do."""
    found = analyse(read_table(table), read_table(solvers), spec)
    write_text(statistics, found.to_csv(index=False))
