"""Step: Table 14."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.quantization.spec import PlainSpec
from seqlab.studies.codesign.quantization.table import table as build_table


def tabulate_quantization(
    spec: PlainSpec, *, statistics: In, table: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table of strategies, contrasts and verdicts as CSV, Markdown and LaTeX."""
    built = build_table(pd.read_csv(table), pd.read_csv(statistics))
    write_table(built, csv=csv, md=md, tex=tex)
