"""Step: statistics of the pilots of learning rates."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.analysis.rates import analyse
from seqlab.studies.archbench.steps_spec import AnalyseSpec


def analyse_rates(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write the trials of all pilots."""
    found = analyse(read_table(table))
    write_text(statistics, found.to_csv(index=False))
