"""Step: Table 6."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.backends.tables import fusion
from seqlab.studies.codesign.experiment import DrawSpec


def tabulate_fusion(
    spec: DrawSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table in its three forms."""
    data = fusion(pd.read_csv(observations), pd.read_csv(statistics))
    write_table(data, csv=csv, md=md, tex=tex)
