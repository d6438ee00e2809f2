"""Balanced blocks grown bottom-up: pairs of strongly tied clusters merge until blocks are full.

This is the coarsening of multilevel partitioners (heavy-edge matching; Karypis and Kumar, 1998),
used as a start of its own: it sees local structure that few eigenvectors miss on sparse graphs.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from seqlab.layout.balance import block_sizes, repaired
from seqlab.layout.communities import aggregated
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
    """Merge matched pairs round by round while they fit into a block; return (D,) labels."""
    graph = affinity
    labels = np.arange(affinity.shape[0])
    sizes = np.ones(labels.size, np.float32)
    while graph.shape[0] > 1:
        # The geometric mean of the sizes lets large clusters win, but not everything.
        tie = graph / np.sqrt(np.outer(sizes, sizes))
        tie[sizes[:, None] + sizes > block] = 0
        np.fill_diagonal(tie, 0)
        mates = _matching(tie)
        if (mates == np.arange(mates.size)).all():
            break
        _, merged = np.unique(np.minimum(mates, np.arange(mates.size)), return_inverse=True)
        labels = merged[labels]
        graph = aggregated(graph, merged)
        sizes = np.bincount(merged, weights=sizes).astype(np.float32)
    return labels


def _matching(tie: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Match nodes greedily, strongest tie first; return each node's mate, itself if it has none."""
    size = tie.shape[0]
    kept = min(_CANDIDATES, size - 1)
    columns = np.argpartition(-tie, kept - 1, axis=1)[:, :kept].ravel()
    rows = np.repeat(np.arange(size), kept)
    weights = tie[rows, columns]
    order = np.lexsort((columns, rows, -weights))
    order = order[weights[order] > 0]
    return _match(rows[order], columns[order], size)


@numba.njit(cache=True)
def _match(rows, columns, size):
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
