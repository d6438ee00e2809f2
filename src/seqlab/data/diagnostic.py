"""What diagnostic tasks have in common: rectangular batches with labels at the queried positions.

`labels[b, t]` is what a model has to say at position t having read `input_ids[b, :t + 1]`, or
`IGNORE`. The answer is never inside what has been read, unless the task is to remember it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IGNORE = -100

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Sequences of one length.

    Attributes:
        input_ids: (B, T) int64.
        labels: (B, T) int64, `IGNORE` where nothing is asked.
        facts: Name -> (B, T) int64 of what is known of each query, such as its distance from what
            it asks for; -1 where there is no query.
    """

    input_ids: Ids
    labels: Ids
    facts: Mapping[str, Ids] = field(default_factory=dict)

    @property
    def asked(self) -> npt.NDArray[np.bool_]:
        """(B, T), where something is asked."""
        return self.labels != IGNORE


def accuracy(predicted: Ids, batch: Batch) -> float:
    """Return the share of queries answered rightly; predictions are (B, T)."""
    asked = batch.asked
    return float((predicted == batch.labels)[asked].mean())
