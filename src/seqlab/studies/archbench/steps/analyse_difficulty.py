"""Step: statistics of models trained at each level of a task."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.difficulty import analyse
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.steps_spec import AnalyseSpec


def analyse_difficulty(spec: AnalyseSpec, *, table: In, solvers: In, statistics: Out) -> None:
    """Write means and half levels."""
    found = analyse(read_table(table), read_table(solvers), spec)
    write_text(statistics, found.to_csv(index=False))
