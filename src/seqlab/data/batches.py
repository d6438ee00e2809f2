"""Windows of a token stream: sampled ones for calibration, all of them for scoring, and batches
for training as a pure function of (seed, step).

A window of `length` predicted tokens holds `length + 1` ids: position t predicts id t + 1.
Documents follow each other with an end-of-text token between them, and windows may span several.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seqlab.data.tokens import Tokens
from seqlab.errors import UserError


def sample_windows(tokens: Tokens, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` different, non-overlapping windows for calibration or a spot check.

    Returns:
        (count, length) int64 ids, in the order drawn.

    Raises:
        UserError: The split is too short for that many.
    """
    available = len(tokens) // length
    if count > available:
        raise UserError(
            f"{count} windows of {length} tokens asked, {available} available",
            fix="ask for fewer or shorter windows",
        )
    # A random shift, so that windows do not always start where the first document does.
    shift = int(rng.integers(0, len(tokens) - available * length + 1))
    starts = shift + length * rng.permutation(available)[:count]
    return _gather(tokens.ids, starts, length)


def scoring_windows(tokens: Tokens, length: int) -> np.ndarray:
    """Return consecutive windows in which each token but the first is predicted exactly once.

    The last ids that do not fill a window are left out; `Tokens.bytes_of(windows[:, 1:])` gives
    the bytes that were scored.

    Returns:
        (n, length + 1) int64 ids; neighbours share one id.

    Raises:
        UserError: The split is shorter than one window.
    """
    count = (len(tokens) - 1) // length
    if count < 1:
        raise UserError(
            f"{len(tokens)} tokens do not fill a window of {length + 1}", fix="shorten the window"
        )
    return _gather(tokens.ids, length * np.arange(count), length + 1)


@dataclass(frozen=True)
class TokenBatches:
    """Training batches, each a pure function of the seed and the step.

    Every epoch cuts the stream into non-overlapping windows from a shift of its own and visits
    them in an order of its own, so a resumed run, or a rank of a data-parallel one that takes
    `batch_at(step)[rank::ranks]`, sees what an unbroken run on one device sees.

    Attributes:
        tokens: The training split.
        length: Predicted tokens per window.
        batch: Windows per step, over all ranks.
        seed: Seed of shifts and orders.
    """

    tokens: Tokens
    length: int
    batch: int
    seed: int
    _orders: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.length < 1 or self.batch < 1:
            raise ValueError(f"length {self.length} and batch {self.batch} must be positive")
        if self.windows_per_epoch < 1:
            raise UserError(
                f"{len(self.tokens)} training tokens are too few for windows of {self.length}",
                fix="shorten the window or take a larger corpus",
            )

    @property
    def windows_per_epoch(self) -> int:
        """Return the windows of one pass; the same for every shift."""
        return (len(self.tokens) - self.length) // self.length

    def batch_at(self, step: int) -> np.ndarray:
        """Return the windows of one step (from 0), (batch, length + 1) int64."""
        visits = step * self.batch + np.arange(self.batch)
        epochs, ranks = np.divmod(visits, self.windows_per_epoch)
        starts = [self._starts(int(epoch))[rank] for epoch, rank in zip(epochs, ranks, strict=True)]
        return _gather(self.tokens.ids, np.array(starts), self.length + 1)

    def _starts(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            rng = np.random.default_rng([self.seed, epoch])
            shift = int(rng.integers(0, self.length))
            # One step reads two epochs at most, unless an epoch is smaller than a batch.
            if len(self._orders) > 1:
                self._orders.clear()
            self._orders[epoch] = shift + self.length * rng.permutation(self.windows_per_epoch)
        return self._orders[epoch]


def _gather(ids: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    return ids[starts[:, None] + np.arange(width)].astype(np.int64)
