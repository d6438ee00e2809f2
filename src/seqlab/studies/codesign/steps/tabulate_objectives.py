"""Step: Table 9."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.ablations import tables
from seqlab.studies.codesign.experiment import DrawSpec


def tabulate_objectives(
    spec: DrawSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write Table 9 as CSV, Markdown and LaTeX."""
    built = tables.objectives(pd.read_csv(observations), pd.read_csv(statistics))
    write_table(built, csv=csv, md=md, tex=tex, formats=tables.FORMATS)
