"""Blocks of exact sizes on a large sparse graph: balance them and improve them by single moves.

Swaps (`refine`) need the affinity of every node to every block, which a graph of 10^5 nodes has no
room for. Here a node moves alone to the block that holds most of its neighbours' weight (Fiduccia
and Mattheyses, 1982, greedily), as long as that block is not fuller than a slack allows; then the
blocks are brought back to their sizes. Slack shrinks from round to round.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

# How full a block may get, relative to its size, and how many sweeps are made at that slack.
# Wide slack first: nodes that have to trade places can do so one after the other.
_ROUNDS = ((1.4, 5), (1.2, 2), (1.1, 2), (1.05, 2))
# Relative to a largest weight of one: below it, float32 cannot tell a gain from rounding.
_SMALLEST_GAIN = 1e-5

Integers = npt.NDArray[np.int64]


def improved(
    graph: sp.csr_array, labels: Integers, sizes: Integers, rng: np.random.Generator
) -> Integers:
    """Move nodes towards their neighbours, keeping the sizes of the blocks.

    Args:
        graph: (N, N) symmetric float32 CSR, largest weight one, without a diagonal.
        labels: (N,) block of each node, 0..K-1, with the sizes `sizes`.
        sizes: (K,) nodes of each block.
        rng: Draws the order of visits.

    Returns:
        (N,) labels of the same sizes, whose weight inside blocks is the largest of all rounds.
    """
    best, worth = labels, _inside(graph, labels)
    current, fill = labels.copy(), sizes.copy()
    for slack, sweeps in _ROUNDS:
        room = np.maximum(np.ceil(slack * sizes), sizes + 1).astype(np.int64)
        for _ in range(sweeps):
            visits = rng.permutation(labels.size)
            if not _move(*_parts(graph), current, fill, room, visits, _SMALLEST_GAIN):
                break
        _balance(graph, current, fill, sizes)
        reached = _inside(graph, current)
        if reached > worth:
            best, worth = current.copy(), reached
    return best


def balanced(graph: sp.csr_array, labels: Integers, sizes: Integers) -> Integers:
    """Move nodes from overfull to underfull blocks, smallest losses first.

    The peer for dense affinities is `balance.repaired`.

    Args:
        graph: (N, N) symmetric float32 CSR without a diagonal.
        labels: (N,) block of each node, 0..K-1.
        sizes: (K,) required sizes, summing to N.
    """
    placed = labels.copy()
    _balance(graph, placed, np.bincount(labels, minlength=sizes.size), sizes)
    return placed


def _balance(graph: sp.csr_array, labels: Integers, fill: Integers, sizes: Integers) -> None:
    """Bring `labels` and `fill` to `sizes`, in place."""
    while (fill > sizes).any():
        targets, gains = _proposals(*_parts(graph), labels, fill, sizes)
        movable = np.flatnonzero(targets >= 0)
        order = movable[np.argsort(-gains[movable], kind="stable")]
        _apply(order, targets, labels, fill, sizes)


def _inside(graph: sp.csr_array, labels: Integers) -> float:
    same = np.repeat(labels, np.diff(graph.indptr)) == labels[graph.indices]
    return float(graph.data[same].sum(dtype=np.float64))


def _parts(
    graph: sp.csr_array,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    return graph.indptr, graph.indices, graph.data


@numba.njit(cache=True)
def _move(
    starts: npt.NDArray[np.int32],
    neighbours: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    labels: Integers,
    fill: Integers,
    room: Integers,
    visits: Integers,
    smallest: float,
) -> int:
    """Give every node its best move, in order of `visits`; return how many moved."""
    tied = np.zeros(fill.shape[0], np.float32)
    moved = 0
    for node in visits:
        home = labels[node]
        for edge in range(starts[node], starts[node + 1]):
            tied[labels[neighbours[edge]]] += weights[edge]
        best, most = home, tied[home] + smallest
        for edge in range(starts[node], starts[node + 1]):
            other = labels[neighbours[edge]]
            if tied[other] > most and fill[other] < room[other]:
                best, most = other, tied[other]
        for edge in range(starts[node], starts[node + 1]):
            tied[labels[neighbours[edge]]] = 0
        if best != home:
            labels[node] = best
            fill[home] -= 1
            fill[best] += 1
            moved += 1
    return moved


@numba.njit(cache=True)
def _proposals(
    starts: npt.NDArray[np.int32],
    neighbours: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    labels: Integers,
    fill: Integers,
    sizes: Integers,
) -> tuple[Integers, npt.NDArray[np.float32]]:
    """Return the best underfull block of each node of an overfull one (others: -1), and its gain.

    A node without neighbours in underfull blocks is offered the emptiest.
    """
    count = labels.shape[0]
    tied = np.zeros(fill.shape[0], np.float32)
    targets = np.full(count, -1)
    gains = np.zeros(count, np.float32)
    emptiest = np.argmax(sizes - fill)
    for node in range(count):
        home = labels[node]
        if fill[home] <= sizes[home]:
            continue
        for edge in range(starts[node], starts[node + 1]):
            tied[labels[neighbours[edge]]] += weights[edge]
        best = emptiest
        for edge in range(starts[node], starts[node + 1]):
            other = labels[neighbours[edge]]
            if fill[other] < sizes[other] and tied[other] > tied[best]:
                best = other
        targets[node] = best
        gains[node] = tied[best] - tied[home]
        for edge in range(starts[node], starts[node + 1]):
            tied[labels[neighbours[edge]]] = 0
    return targets, gains


@numba.njit(cache=True)
def _apply(
    order: Integers, targets: Integers, labels: Integers, fill: Integers, sizes: Integers
) -> None:
    """Make the proposed moves in turn while both blocks still need them."""
    for node in order:
        home, target = labels[node], targets[node]
        if fill[home] > sizes[home] and fill[target] < sizes[target]:
            labels[node] = target
            fill[home] -= 1
            fill[target] += 1
