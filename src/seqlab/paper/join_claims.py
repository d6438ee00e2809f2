"""Step: the verdicts of all studies in one table."""

from __future__ import annotations

import pandas as pd

from seqlab.paper.spec import PlainSpec
from seqlab.plots.tables import write_table
from seqlab.spec import Ins, Out


def join_claims(spec: PlainSpec, *, tables: Ins, csv: Out, md: Out, tex: Out) -> None:
    """Write the rows of every study's table of claims, one study after the other."""
    # Only empty cells are missing: a claim may be about a method called "none".
    parts = [pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in tables]
    write_table(pd.concat(parts, ignore_index=True), csv=csv, md=md, tex=tex)
