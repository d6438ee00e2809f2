"""Step: Table 4."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import DrawSpec
from seqlab.studies.codesign.intervention.table import intervention


def tabulate_intervention(
    spec: DrawSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table in its three forms."""
    data = intervention(pd.read_csv(observations), pd.read_csv(statistics))
    write_table(data, csv=csv, md=md, tex=tex)
