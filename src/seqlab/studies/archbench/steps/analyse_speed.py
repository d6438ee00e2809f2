"""Step: statistics of the micro-benchmark."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.analysis.speed import analyse
from seqlab.studies.archbench.steps_spec import AnalyseSpec


def analyse_speed(spec: AnalyseSpec, *, table: In, statistics: Out) -> None:
    """Write times and slopes.

    Raises:
        UserError: The runs were made on several devices.
    """
    write_text(statistics, analyse(read_table(table), spec).to_csv(index=False))
