"""Rows of the analyses: their columns, and contrasts as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from seqlab.stats.contrast import CONTRAST_COLUMNS, Contrast, correct_family
from seqlab.studies.archbench.analysis.frames import Row

# Columns that tell rows apart, then those of a contrast, then what only some rows have.
LABELS = ("item", "contrast", "task", "condition", "model", "treatment", "control", "metric")
EXTRA = (
    "hedges_g",
    "cliffs_delta",
    "sd",
    "median",
    "least",
    "most",
    "share",
    "steps",
    "omega_squared",
    "rank",
    "distance",
    "p_hc3",
    "p_exchange",
    "exchange_floor",
)
STATISTICS = [*LABELS, "provenance", "device", *CONTRAST_COLUMNS, *EXTRA]


def statistics(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as one table with all columns."""
    return pd.DataFrame(list(rows), columns=STATISTICS)


def correct_whole_family(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Correct a family whose size is fixed before the data: what has no test counts with p = 1."""
    return correct_family([replace(c, p_raw=1.0) if c.degenerate_reason else c for c in contrasts])


def contrast_row(found: Contrast, **labels: Any) -> Row:
    """Return a contrast as a row of the table."""
    return {**found.row(), **labels}
