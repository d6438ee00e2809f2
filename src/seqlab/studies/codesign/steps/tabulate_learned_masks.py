"""Step: the table of learned masks."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.masks.spec import TabulateMasksSpec
from seqlab.studies.codesign.masks.table import table


def tabulate_learned_masks(
    spec: TabulateMasksSpec, *, statistics: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table as CSV, Markdown and LaTeX."""
    write_table(table(pd.read_csv(statistics), spec.scale), csv=csv, md=md, tex=tex)
