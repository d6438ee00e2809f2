"""Step: statistics of the main grid."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.analysis.grid import analyse
from seqlab.studies.archbench.steps_spec import AnalyseSpec


def analyse_grid(spec: AnalyseSpec, *, table: In, solvers: In, statistics: Out) -> None:
    """Write means, tests, affinities, convergence and generalisation.

    Raises:
        UserError: The runs were made on several devices.
    """
    found = analyse(read_table(table), read_table(solvers), spec)
    write_text(statistics, found.to_csv(index=False))
