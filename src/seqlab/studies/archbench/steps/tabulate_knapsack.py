"""Step: the table `knapsack`."""

from __future__ import annotations

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.steps_spec import TabulateSpec
from seqlab.studies.archbench.tables import knapsack


def tabulate_knapsack(
    spec: TabulateSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table as CSV, Markdown and LaTeX."""
    write_table(knapsack(read_table(statistics), spec.labels), csv=csv, md=md, tex=tex)
