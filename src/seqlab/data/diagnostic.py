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


@dataclass(frozen=True)
class Answers:
    """What a model said to each query of a batch, in order of rows and positions.

    Attributes:
        nll: Negative log-likelihood of the right answer in nats, (Q,) float64.
        predictions: Most likely id, (Q,) int64.
        labels: Right answers, (Q,) int64.
        rows: Sequence of each query, (Q,) int64.
        positions: Place of each query in its sequence, (Q,) int64.
        among: Most likely id of those that were allowed, (Q,) int64; None where all were.
    """

    nll: np.ndarray
    predictions: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    positions: np.ndarray
    among: np.ndarray | None = None

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, (Q,) bool."""
        return np.asarray(self.predictions == self.labels)

    def metrics(self) -> dict[str, float]:
        """Return `loss` (mean nats), `accuracy`, and `exact`: the share of sequences without a
        wrong answer.
        """
        wrong = np.bincount(self.rows, weights=~self.right)
        asked = np.bincount(self.rows) > 0
        return {
            "loss": float(self.nll.mean()),
            "accuracy": float(self.right.mean()),
            "exact": float((wrong[asked] == 0).mean()),
        }


def accuracy(predicted: Ids, batch: Batch) -> float:
    """Return the share of queries answered rightly; predictions are (B, T)."""
    asked = batch.asked
    return float((predicted == batch.labels)[asked].mean())
