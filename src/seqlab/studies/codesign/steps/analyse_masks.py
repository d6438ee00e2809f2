"""Step: statistics of learned masks."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_text
from seqlab.spec import Ins, Out
from seqlab.studies.codesign.masks.contrasts import analyse
from seqlab.studies.codesign.masks.spec import AnalyseMasksSpec


def analyse_masks(spec: AnalyseMasksSpec, *, windows: Ins, statistics: Out) -> None:
    """Write qualities of all variants and their differences."""
    parts = pd.concat([pd.read_csv(path) for path in windows], ignore_index=True)
    write_text(statistics, analyse(parts, spec).to_csv(index=False))
