"""Batches of labelled examples of similar length, each a pure function of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seqlab.data.examples import Batch, Examples
from seqlab.errors import UserError


@dataclass(frozen=True)
class ExampleBatches:
    """Training batches with little padding.

    Every epoch shuffles the examples, cuts them into pools of `pool` batches, sorts each pool by
    length, cuts it into batches and visits all batches in a random order. Examples that do not
    fill a batch wait for another epoch, which leaves out others. A resumed run sees what an
    unbroken run sees.

    Attributes:
        examples: The training split.
        batch: Examples per step, over all processes.
        pool: Batches among which examples are sorted by length; 1 does not sort.
        seed: Seed of all orders.
    """

    examples: Examples
    batch: int
    pool: int
    seed: int
    _orders: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.batch < 1 or self.pool < 1:
            raise ValueError(f"batch {self.batch} and pool {self.pool} must be positive")
        if self.steps_per_epoch < 1:
            raise UserError(
                f"{len(self.examples)} examples do not fill a batch of {self.batch}",
                fix="make the batch smaller or take a larger corpus",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Return the full batches of one pass."""
        return len(self.examples) // self.batch

    def indices_at(self, step: int) -> np.ndarray:
        """Return the examples of one step (from 0), (batch,) int64."""
        epoch, rank = divmod(step, self.steps_per_epoch)
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = self._order(epoch)
        indices: np.ndarray = self._orders[epoch][rank]
        return indices

    def batch_at(self, step: int) -> Batch:
        """Return the batch of one step."""
        return self.examples.batch(self.indices_at(step))

    def _order(self, epoch: int) -> np.ndarray:
        """Return the examples of every batch of an epoch, (steps_per_epoch, batch) int64."""
        rng = np.random.default_rng([self.seed, epoch])
        drawn = rng.permutation(len(self.examples))[: self.steps_per_epoch * self.batch]
        if self.pool > 1:
            pools = np.arange(len(drawn)) // (self.pool * self.batch)
            # By pool, then by length; equal lengths keep the drawn order.
            drawn = drawn[np.lexsort((self.examples.lengths[drawn], pools))]
        return rng.permutation(drawn.reshape(self.steps_per_epoch, self.batch))
