"""Step: the table `factorial`."""

from __future__ import annotations

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.steps_spec import TabulateSpec
from seqlab.studies.archbench.tables import factorial


def tabulate_factorial(
    spec: TabulateSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table as CSV, Markdown and LaTeX."""
    write_table(factorial(read_table(statistics)), csv=csv, md=md, tex=tex)
