"""Step: Table 2."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.backends.spec import CompilersSpec
from seqlab.studies.codesign.backends.tables import compilers


def tabulate_compilers(
    spec: CompilersSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table in its three forms."""
    rows, contrasts = pd.read_csv(observations), pd.read_csv(statistics)
    write_table(compilers(rows, contrasts, spec.wanted, spec.scale), csv=csv, md=md, tex=tex)
