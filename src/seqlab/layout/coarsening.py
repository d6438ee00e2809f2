"""Shrink a large sparse graph by merging matched pairs (heavy-edge matching).

Each round merges pairs of nodes into one, summing node sizes and edge weights, until few enough
nodes are left (Karypis and Kumar, 1998). The weight of an edge counts relative to the degree of its
far end, because an edge to a hub says little. Three rules keep coarse nodes alike on graphs with
hubs and loose ends: a pair may not grow beyond a cap; a node whose neighbours are all taken is
paired with another such node of the same nearest neighbour (two-hop matching; LaSalle and others,
2015), because hubs have more leaves than mates; and what is then left is paired as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

# A coarse node may hold this many times the size that all would have if they were equal.
_SLACK = 1.5

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """One graph of a hierarchy.

    Attributes:
        graph: (n, n) symmetric float32 CSR without a diagonal.
        sizes: (n,) int64, how many nodes of the original graph each node stands for.
        parents: (n,) int64, the node of the next coarser level that each node becomes part of;
            None at the coarsest level.
    """

    graph: sp.csr_array
    sizes: Integers
    parents: Integers | None


def hierarchy(graph: sp.csr_array, nodes: int, rng: np.random.Generator) -> list[Level]:
    """Return the levels from `graph` itself to one of about `nodes` nodes, finest first.

    Up to a third more nodes may remain: as many as the cap keeps apart.

    Args:
        graph: (N, N) symmetric CSR, non-negative, without a diagonal.
        nodes: Number of nodes at which to stop.
        rng: Draws the order of visits.
    """
    cap = max(2, int(np.ceil(_SLACK * graph.shape[0] / nodes)))
    current, sizes = graph.astype(np.float32), np.ones(graph.shape[0], np.int64)
    levels = []
    while current.shape[0] > nodes:
        parents = _merged_pairs(current, sizes, cap, rng)
        count = int(parents.max()) + 1
        if count == sizes.size:
            break
        levels.append(Level(current, sizes, parents))
        current = contracted(current, parents, count)
        sizes = np.bincount(parents, weights=sizes, minlength=count).astype(np.int64)
    levels.append(Level(current, sizes, None))
    return levels


def contracted(graph: sp.csr_array, parents: Integers, count: int) -> sp.csr_array:
    """Return the (count, count) graph between groups of nodes; weight inside groups is dropped."""
    rows = np.repeat(parents, np.diff(graph.indptr))
    columns = parents[graph.indices]
    kept = rows != columns
    merged = sp.coo_array((graph.data[kept], (rows[kept], columns[kept])), shape=(count, count))
    return merged.tocsr()


def _merged_pairs(
    graph: sp.csr_array, sizes: Integers, cap: int, rng: np.random.Generator
) -> Integers:
    """Return (n,) group of each node: its pair's, numbered by first member."""
    # Nodes of few neighbours choose first: the others can find another mate.
    visits = rng.permutation(sizes.size)
    visits = visits[np.argsort(np.diff(graph.indptr)[visits], kind="stable")]
    degree = np.asarray(graph.sum(axis=1)).ravel()
    mates = _match(graph.indptr, graph.indices, graph.data, degree, sizes, visits, cap)
    return np.unique(np.minimum(mates, np.arange(mates.size)), return_inverse=True)[1]


@numba.njit(cache=True)
def _match(
    starts: npt.NDArray[np.int32],
    neighbours: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    degree: npt.NDArray[np.float32],
    sizes: Integers,
    visits: Integers,
    cap: int,
) -> Integers:
    """Return (n,) mates; a node without one is its own."""
    count = sizes.shape[0]
    mates = np.arange(count)
    waiting = np.full(count, -1)
    for node in visits:
        if mates[node] != node:
            continue
        best, tie = -1, np.float32(0)
        for edge in range(starts[node], starts[node + 1]):
            other = neighbours[edge]
            strength = weights[edge] / degree[other]
            if strength > tie and mates[other] == other and sizes[node] + sizes[other] <= cap:
                best, tie = other, strength
        if best >= 0:
            mates[node], mates[best] = best, node
    for node in visits:
        if mates[node] != node:
            continue
        nearest, tie = -1, np.float32(0)
        for edge in range(starts[node], starts[node + 1]):
            strength = weights[edge] / degree[neighbours[edge]]
            if strength > tie:
                nearest, tie = neighbours[edge], strength
        if nearest >= 0:
            _meet(node, nearest, waiting, mates, sizes, cap)
    waiting[0] = -1
    for node in visits:
        if mates[node] == node:
            _meet(node, 0, waiting, mates, sizes, cap)
    return mates


@numba.njit(cache=True)
def _meet(
    node: int, place: int, waiting: Integers, mates: Integers, sizes: Integers, cap: int
) -> None:
    """Pair a node with the one that waits at a place; if they do not fit, the smaller one waits."""
    other = waiting[place]
    if other >= 0 and sizes[node] + sizes[other] <= cap:
        mates[node], mates[other] = other, node
        waiting[place] = -1
    elif other < 0 or sizes[node] < sizes[other]:
        waiting[place] = node
