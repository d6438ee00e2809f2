"""Step: Table 7."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.pareto.spec import SotaSpec
from seqlab.studies.codesign.pareto.table import table


def tabulate_sota(
    spec: SotaSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table as CSV, Markdown and LaTeX."""
    built = table(pd.read_csv(observations), pd.read_csv(statistics), spec.shown)
    write_table(built, csv=csv, md=md, tex=tex)
