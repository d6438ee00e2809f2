"""Step: the table of path dependence."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import DrawSpec
from seqlab.studies.codesign.paths.table import table


def tabulate_path_dependence(
    spec: DrawSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table as CSV, Markdown and LaTeX."""
    built = table(pd.read_csv(observations), pd.read_csv(statistics))
    write_table(built, csv=csv, md=md, tex=tex)
