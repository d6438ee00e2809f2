"""Step: the table of the mediation."""

from __future__ import annotations

import pandas as pd

from seqlab.plots.tables import write_table
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import DrawSpec
from seqlab.studies.codesign.layouts.names import MEDIATORS

_COLUMNS = {
    "cell": "cell",
    "kernel": "kernel",
    "treatment": "mediator",
    "contrast": "effect",
    "metric": "interval",
    "n": "n",
    "estimate": "log latency per sd of modularity",
    "ci_low": "low",
    "ci_high": "high",
    "p_raw": "p_bootstrap",
    "test": "test",
    "provenance": "provenance",
    "verdict": "verdict",
    "reason": "reason and caveat",
    "device": "device",
}


def tabulate_mediation(
    spec: DrawSpec, *, statistics: In, observations: In, csv: Out, md: Out, tex: Out
) -> None:
    """Write every effect of every cell with both intervals and the caveat."""
    rows = pd.read_csv(statistics)
    table = rows.loc[rows["item"].isin(list(MEDIATORS)), list(_COLUMNS)].rename(columns=_COLUMNS)
    write_table(table, csv=csv, md=md, tex=tex)
