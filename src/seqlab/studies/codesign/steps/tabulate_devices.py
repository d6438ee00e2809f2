"""Step: Table 8."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.main.spec import DevicesSpec
from seqlab.studies.codesign.main.tables import devices


def tabulate_devices(
    spec: DevicesSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write the table in its three forms."""
    data = devices(pd.read_csv(observations), pd.read_csv(statistics), spec.wanted)
    write_table(data, csv=csv, md=md, tex=tex)
