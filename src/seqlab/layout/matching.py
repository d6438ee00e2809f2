"""Balanced blocks grown bottom-up: pairs of strongly tied clusters merge until blocks are full.

This is the coarsening of multilevel partitioners (heavy-edge matching; Karypis and Kumar, 1998),
used as a start of its own: it sees local structure that few eigenvectors miss on sparse graphs.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from seqlab.layout.balance import block_sizes, repaired
from seqlab.layout.refine import block_gains

# Edges considered at each cluster; a matching rarely gets further down the list.
_CANDIDATES = 8


def matched_blocks(affinity: npt.NDArray[np.float32], block: int) -> npt.NDArray[np.int64]:
    """Return (D,) labels of blocks with the sizes of `block_sizes`, deterministic.

    Args:
        affinity: (D, D) symmetric float32, non-negative, zero diagonal.
        block: Nodes to a block.
    """
    clusters = _merged_clusters(affinity, block)
    sizes = block_sizes(affinity.shape[0], block)
    return repaired(affinity, _packed(affinity, clusters, block, sizes.size), sizes)


def _merged_clusters(affinity: npt.NDArray[np.float32], block: int) -> npt.NDArray[np.int64]:
    """Merge matched pairs round by round while they fit into a block; return (D,) labels.

    Late rounds merge few pairs, so a pair is merged in place; the graph is cut down to the clusters
    that are left once they are half of its rows.
    """
    graph = affinity.copy()
    labels, names = np.arange(graph.shape[0]), np.arange(graph.shape[0])
    sizes = np.ones(labels.size, np.float32)
    while names.size > 1:
        mates = _matching(graph, sizes, block)
        kept = np.minimum(mates, np.arange(mates.size))
        if (kept == np.arange(mates.size)).all():
            break
        renamed = np.arange(labels.size)
        renamed[names] = names[kept]
        labels = renamed[labels]
        _merge_pairs(graph, sizes, mates)
        left = np.isfinite(sizes)
        if 2 * left.sum() <= left.size:
            graph, sizes, names = graph[np.ix_(left, left)], sizes[left], names[left]
    return np.unique(labels, return_inverse=True)[1]


@numba.njit(cache=True)
def _merge_pairs(
    graph: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.float32],
    mates: npt.NDArray[np.int64],
) -> None:
    """Add the second of each pair to the first, in place; nothing is tied to the second any more.

    Its size is infinite from then on, so that it fits nowhere.
    """
    for first in range(mates.shape[0]):
        second = mates[first]
        if second > first:
            graph[first] += graph[second]
            graph[second] = 0
            for row in range(graph.shape[0]):
                graph[row, first] += graph[row, second]
                graph[row, second] = 0
            sizes[first] += sizes[second]
            sizes[second] = np.inf


def _matching(
    graph: npt.NDArray[np.float32], sizes: npt.NDArray[np.float32], block: int
) -> npt.NDArray[np.int64]:
    """Match clusters that fit together greedily, strongest tie first; unmatched ones to themselves.

    The tie of two clusters is their affinity over the geometric mean of their sizes: large ones
    win, but not everything.
    """
    scale = np.asarray(1 / np.sqrt(sizes), np.float32)
    columns, ties = _candidates(graph, sizes, scale, block, _CANDIDATES)
    rows = np.repeat(np.arange(sizes.size), _CANDIDATES)
    columns, ties = columns.ravel(), ties.ravel()
    order = np.lexsort((columns, rows, -ties))
    order = order[ties[order] > 0]
    return _match(rows[order], columns[order], sizes.size)


@numba.njit(cache=True)
def _candidates(
    graph: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    block: int,
    kept: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return (n, kept) partners of the largest ties, and the ties; zero where there are fewer."""
    count = graph.shape[0]
    columns = np.zeros((count, kept), np.int64)
    ties = np.zeros((count, kept), np.float32)
    for i in range(count):
        for j in range(count):
            tie = graph[i, j] * scale[i] * scale[j]
            if tie > ties[i, kept - 1] and i != j and sizes[i] + sizes[j] <= block:
                place = kept - 1
                while place > 0 and ties[i, place - 1] < tie:
                    ties[i, place] = ties[i, place - 1]
                    columns[i, place] = columns[i, place - 1]
                    place -= 1
                ties[i, place] = tie
                columns[i, place] = j
    return columns, ties


@numba.njit(cache=True)
def _match(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.int64]:
    mates = np.arange(size)
    for edge in range(rows.shape[0]):
        a, b = rows[edge], columns[edge]
        if mates[a] == a and mates[b] == b:
            mates[a], mates[b] = b, a
    return mates


def _packed(
    affinity: npt.NDArray[np.float32], clusters: npt.NDArray[np.int64], block: int, count: int
) -> npt.NDArray[np.int64]:
    """Let the `count` largest clusters be blocks and put the others where they are tied and fit."""
    nodes = np.split(np.argsort(clusters, kind="stable"), np.cumsum(np.bincount(clusters))[:-1])
    nodes.sort(key=len, reverse=True)
    labels = np.full(clusters.size, count, np.int64)
    for label, members in enumerate(nodes[:count]):
        labels[members] = label
    gains = block_gains(affinity, labels, count + 1)[:count]
    filled = np.array([len(members) for members in nodes[:count]])
    for members in nodes[count:]:
        worth = gains[:, members].sum(axis=1)
        fits = filled + members.size <= block
        target = int(np.argmax(np.where(fits if fits.any() else filled < block, worth, -1)))
        labels[members] = target
        filled[target] += members.size
        gains[target] += affinity[members].sum(axis=0)
    return labels
