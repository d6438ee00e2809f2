"""Improve a partition into blocks of fixed sizes by swapping pairs of nodes.

A swap of i (in block a) with j (in block b) raises the affinity inside blocks by
G[b,i] - G[a,i] + G[a,j] - G[b,j] - 2 W[i,j] pairs, where G[c,i] is the affinity of node i to block
c (Kernighan and Lin, 1970). G is kept up to date in O(degree) per swap: only rows a and b change,
by the difference of two rows of W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

# Reassociation lets the maximum of a row be taken in vector lanes; no NaN can reach this code.
_FAST = {"nnan", "nsz", "ninf", "reassoc", "contract"}
_MAX_SWEEPS = 60
# Two sweeps make nine tenths of the way; the order of the starts is then settled.
_SCREENING_SWEEPS = 3
# Relative to a largest weight of one: below it, float32 cannot tell a gain from rounding.
_SMALLEST_GAIN = 1e-5


@dataclass
class Partition:
    """Blocks of a (D, D) affinity and the affinity of every node to every block.

    Attributes:
        labels: (D,) block of each node.
        gains: (K, D) float32, summed affinity of each node to each block.
        own: (D,) float32, `gains[labels[i], i]`.
        members: (D,) node indices grouped by block.
        slots: (D,) where each node stands in `members`.
        starts: (K + 1,) where each block begins in `members`.
    """

    labels: npt.NDArray[np.uint32]
    gains: npt.NDArray[np.float32]
    own: npt.NDArray[np.float32]
    members: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, affinity: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], blocks: int
    ) -> Partition:
        """Build the state from `labels`, computing all gains in one matrix product."""
        size = labels.size
        compact = labels.astype(np.uint32)
        gains = block_gains(affinity, compact, blocks)
        members = np.argsort(compact, kind="stable")
        slots = np.empty(size, np.int64)
        slots[members] = np.arange(size)
        starts = np.concatenate(([0], np.cumsum(np.bincount(compact, minlength=blocks))))
        own = gains[compact, np.arange(size)]
        return cls(compact, gains, own, members, slots, starts)

    def copy(self) -> Partition:
        """Return an independent copy."""
        return Partition(
            self.labels.copy(),
            self.gains.copy(),
            self.own.copy(),
            self.members.copy(),
            self.slots.copy(),
            self.starts,
        )

    def inside(self) -> float:
        """Return the summed affinity inside blocks, each pair counted twice."""
        return float(self.own.sum(dtype=np.float64))

    def swap(self, affinity: npt.NDArray[np.float32], first: int, second: int) -> None:
        """Exchange the blocks of two nodes that are in different blocks."""
        _swap(affinity, *self._arrays(), first, second)

    def sweep(self, affinity: npt.NDArray[np.float32]) -> int:
        """Give every node, in index order, its best improving swap; return how many moved."""
        return int(_sweep(affinity, *self._arrays(), np.float32(_SMALLEST_GAIN)))

    def _arrays(
        self,
    ) -> tuple[
        npt.NDArray[np.uint32],
        npt.NDArray[np.float32],
        npt.NDArray[np.float32],
        npt.NDArray[np.int64],
        npt.NDArray[np.int64],
        npt.NDArray[np.int64],
    ]:
        return self.labels, self.gains, self.own, self.members, self.slots, self.starts


def block_gains(
    affinity: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], blocks: int
) -> npt.NDArray[np.float32]:
    """Return (K, D) float32 sums of each node's affinity to the members of each block."""
    indicator = np.zeros((blocks, labels.size), np.float32)
    indicator[labels, np.arange(labels.size)] = 1
    return indicator @ affinity


def refine(
    affinity: npt.NDArray[np.float32],
    starts: Sequence[npt.NDArray[np.integer]],
    blocks: int,
    *,
    rng: np.random.Generator,
    kicks: int,
) -> npt.NDArray[np.uint32]:
    """Swap from each start, go on with the best to a local optimum, then perturb and keep gains.

    Args:
        affinity: (D, D) symmetric float32, largest entry one, zero diagonal.
        starts: (D,) blocks of the nodes, one array or more of equal block sizes, which are kept.
        blocks: Number of blocks K.
        rng: Source of the perturbations.
        kicks: Number of perturbations; none makes the result independent of `rng`.

    Returns:
        (D,) labels whose affinity inside blocks is at least that of every start.
    """
    if blocks in (1, affinity.shape[0]):
        return starts[0].astype(np.uint32)
    found = [Partition.of(affinity, labels, blocks) for labels in starts]
    for partition in found:
        _descend(affinity, partition, _SCREENING_SWEEPS)
    best = max(found, key=Partition.inside)
    _descend(affinity, best)
    for _ in range(kicks):
        trial = best.copy()
        _kick(affinity, trial, rng)
        _descend(affinity, trial)
        if trial.inside() > best.inside():
            best = trial
    return best.labels


def _descend(
    affinity: npt.NDArray[np.float32], partition: Partition, sweeps: int = _MAX_SWEEPS
) -> None:
    for _ in range(sweeps):
        if partition.sweep(affinity) == 0:
            return


def _kick(
    affinity: npt.NDArray[np.float32], partition: Partition, rng: np.random.Generator
) -> None:
    """Swap random pairs, four or one for every 32 nodes."""
    size = partition.labels.size
    pairs = rng.integers(0, size, (max(4, size // 32), 2))
    for first, second in pairs:
        if partition.labels[first] != partition.labels[second]:
            partition.swap(affinity, int(first), int(second))


@numba.njit(cache=True, fastmath=_FAST)
def _swap_gains(
    row: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint32],
    to_block: npt.NDArray[np.float32],
    own: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
    gains: npt.NDArray[np.float32],
) -> np.float32:
    """Fill `gains[j]` with what swapping one node with j is worth; return the largest."""
    largest = np.float32(0)
    for j in range(row.shape[0]):
        gain = columns[labels[j]] + to_block[j] - own[j] - np.float32(2) * row[j]
        gains[j] = gain
        largest = max(largest, gain)
    return largest


@numba.njit(cache=True, fastmath=_FAST)
def _shift_gains(
    leaving: npt.NDArray[np.float32],
    joining: npt.NDArray[np.float32],
    gains_a: npt.NDArray[np.float32],
    gains_b: npt.NDArray[np.float32],
) -> None:
    """Update the gains of blocks a and b after one node left a for b and another came back."""
    for t in range(leaving.shape[0]):
        change = joining[t] - leaving[t]
        gains_a[t] += change
        gains_b[t] -= change


@numba.njit(cache=True)
def _swap(
    affinity: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint32],
    gains: npt.NDArray[np.float32],
    own: npt.NDArray[np.float32],
    members: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    i: int,
    j: int,
) -> None:
    a, b = labels[i], labels[j]
    labels[i], labels[j] = b, a
    slots[i], slots[j] = slots[j], slots[i]
    members[slots[i]], members[slots[j]] = i, j
    _shift_gains(affinity[i], affinity[j], gains[a], gains[b])
    for s in range(starts[a], starts[a + 1]):
        own[members[s]] = gains[a, members[s]]
    for s in range(starts[b], starts[b + 1]):
        own[members[s]] = gains[b, members[s]]


@numba.njit(cache=True)
def _sweep(
    affinity: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint32],
    gains: npt.NDArray[np.float32],
    own: npt.NDArray[np.float32],
    members: npt.NDArray[np.int64],
    slots: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    smallest: np.float32,
) -> int:
    size, blocks = labels.shape[0], gains.shape[0]
    columns = np.empty(blocks, np.float32)
    worth = np.empty(size, np.float32)
    moved = 0
    for i in range(size):
        a = labels[i]
        for b in range(blocks):
            columns[b] = gains[b, i] - own[i]
        largest = _swap_gains(affinity[i], labels, gains[a], own, columns, worth)
        if largest > smallest:
            j = 0
            while worth[j] != largest:
                j += 1
            _swap(affinity, labels, gains, own, members, slots, starts, i, j)
            moved += 1
    return moved
