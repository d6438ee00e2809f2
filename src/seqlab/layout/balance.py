"""Partitions into blocks of exactly B nodes (the last one holds what is left over)."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import scipy.linalg

from seqlab.layout.refine import block_gains

_CENTRE_STEPS = 2


def block_sizes(size: int, block: int) -> npt.NDArray[np.int64]:
    """Return the sizes of the ceil(D/B) blocks of D nodes: B each, the last one what remains."""
    count = -(-size // block)
    sizes = np.full(count, block, np.int64)
    if count:
        sizes[-1] = size - block * (count - 1)
    return sizes


def spectral_blocks(
    affinity: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], block: int
) -> npt.NDArray[np.int64]:
    """Assign nodes to blocks by the direction of their rows of a spectral embedding.

    Centres are rows picked by a pivoted QR factorisation (Damle, Minden and Ying, 2018), which on
    well separated clusters takes one from each; then nodes join centres, nearest pair first, as
    long as there is room.

    Args:
        affinity: (D, D) symmetric float32.
        vectors: (D, R) float32 eigenvector estimates.
        block: Nodes to a block.

    Returns:
        (D,) labels with the sizes of `block_sizes`.
    """
    size = affinity.shape[0]
    sizes = block_sizes(size, block)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    labels = _assign(rows @ _centres(rows, sizes.size).T, block)
    for _ in range(_CENTRE_STEPS):
        sums = np.zeros((sizes.size, rows.shape[1]), np.float32)
        np.add.at(sums, labels, rows)
        lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
        labels = _assign(rows @ (sums / lengths).T, block)
    return repaired(affinity, labels, sizes)


def fiedler_blocks(
    affinity: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], block: int
) -> npt.NDArray[np.int64]:
    """Cut the order of the second eigenvector, relative to the first, into blocks.

    Args:
        affinity: (D, D) symmetric float32.
        vectors: (D, R) float32 eigenvector estimates of the normalised affinity, R at least 2.
        block: Nodes to a block.

    Returns:
        (D,) labels with the sizes of `block_sizes`.
    """
    degree = affinity.sum(axis=1)
    fiedler = np.divide(
        vectors[:, 1],
        np.sqrt(degree),
        out=np.zeros_like(degree),
        where=degree > 0,
    )
    labels = np.empty(degree.size, np.int64)
    labels[np.argsort(fiedler, kind="stable")] = np.arange(degree.size) // block
    return labels


def repaired(
    affinity: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer],
    sizes: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Move nodes from overfull to underfull blocks, smallest loss of affinity first.

    The blocks that are largest already get the largest sizes, so few nodes move.

    Args:
        affinity: (D, D) symmetric float32.
        labels: (D,) block of each node, in 0..K-1.
        sizes: (K,) required sizes, summing to D.
    """
    count = sizes.size
    filled = np.bincount(labels, minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.lexsort((np.arange(count), -filled))] = np.argsort(-sizes, kind="stable")
    placed = rank[labels]
    filled = np.bincount(placed, minlength=count)
    gains = block_gains(affinity, placed, count)
    while (filled > sizes).any():
        movable = np.flatnonzero(filled[placed] > sizes[placed])
        open_blocks = np.flatnonzero(filled < sizes)
        worth = gains[np.ix_(open_blocks, movable)] - gains[placed[movable], movable]
        to, which = np.unravel_index(np.argmax(worth), worth.shape)
        node, target, source = movable[which], open_blocks[to], placed[movable[which]]
        placed[node] = target
        filled[source] -= 1
        filled[target] += 1
        gains[source] -= affinity[node]
        gains[target] += affinity[node]
    return placed


def _centres(rows: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """Pick `count` rows that span the embedding; blocks beyond its rank repeat the first ones."""
    _, _, pivots = scipy.linalg.qr(rows.T, mode="raw", pivoting=True)
    rank = min(count, *rows.shape)
    return rows[pivots[np.resize(np.arange(rank), count)]]


def _assign(similarity: npt.NDArray[np.float32], capacity: int) -> npt.NDArray[np.int64]:
    """Give each node one column, most similar pairs first, at most `capacity` nodes to a column."""
    order = np.argsort(-similarity, axis=None, kind="stable")
    nodes, blocks = similarity.shape
    return _fill(order, nodes, blocks, capacity)


@numba.njit(cache=True)
def _fill(
    order: npt.NDArray[np.int64], nodes: int, blocks: int, capacity: int
) -> npt.NDArray[np.int64]:
    labels = np.full(nodes, -1, np.int64)
    room = np.full(blocks, capacity, np.int64)
    left = nodes
    for flat in order:
        node, target = flat // blocks, flat % blocks
        if labels[node] < 0 and room[target] > 0:
            labels[node] = target
            room[target] -= 1
            left -= 1
            if left == 0:
                break
    return labels
