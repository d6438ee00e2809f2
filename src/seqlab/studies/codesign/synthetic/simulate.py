"""A random walk over a planted-partition graph, through caches of a few lines.

Node i lies at position `positions[i]` of one array; a line holds a block of consecutive positions.
In the stationary walk the chance that the next node lies in the block of the current one is the
share of edges inside blocks, Q_frac; so that is the hit rate of a cache of one line. Larger caches
have no such formula, and one that holds the whole array hits whatever the layout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from seqlab.kernels.cachesim import Hierarchy, Level
from seqlab.kernels.traces import random_walk
from seqlab.studies.codesign.synthetic.spec import GraphSpec, RunSpec

Floats = NDArray[np.float64]

_ITEM_BYTES = 4


@dataclass(frozen=True)
class Locality:
    """What one graph showed, for B blocks, C capacities and F shuffled fractions.

    Attributes:
        mixing: Realised share of edges between communities.
        edges: Undirected edges.
        q_frac: (B, F) share of edges inside blocks.
        q_newman: (B, F) modularity of the blocks, resolution 1.
        hit_rate: (B, C, F) share of accesses that hit, cold misses included.
    """

    mixing: float
    edges: int
    q_frac: Floats
    q_newman: Floats
    hit_rate: Floats


def planted_partition(graph: GraphSpec, rng: np.random.Generator) -> scipy.sparse.csr_array:
    """Draw an undirected graph without loops; nodes are sorted by community.

    Every pair inside a community is an edge with one probability and every other pair with another
    one, such that the expected degree and share of edges between communities are those asked for.
    """
    size = graph.nodes // graph.communities
    inside = (1 - graph.mixing) * graph.degree / (size - 1)
    between = graph.mixing * graph.degree / (graph.nodes - size)
    rows, columns = np.triu_indices(graph.nodes, 1)
    chance = np.where(rows // size == columns // size, inside, between)
    kept = rng.random(len(rows)) < chance
    ends = np.stack([rows[kept], columns[kept]])
    both = np.concatenate([ends, ends[::-1]], axis=1)
    ones = np.ones(both.shape[1])
    return scipy.sparse.coo_array((ones, (both[0], both[1])), shape=(graph.nodes,) * 2).tocsr()


def shuffled_positions(nodes: int, fractions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (F, N) positions: the order of communities with a growing share of nodes shuffled.

    Nodes that are shuffled at one fraction are shuffled at every larger one.
    """
    order = rng.permutation(nodes)
    positions = np.tile(np.arange(nodes), (fractions, 1))
    for row, fraction in enumerate(np.linspace(0.0, 1.0, fractions)):
        moved = order[: round(fraction * nodes)]
        positions[row, moved] = rng.permutation(moved)
    return positions


def locality(graph: GraphSpec, spec: RunSpec) -> Locality:
    """Draw a graph and its layouts and simulate one walk through every cache."""
    rng = np.random.default_rng([spec.seed, *graph.name.encode()])
    matrix = planted_partition(graph, rng)
    positions = shuffled_positions(graph.nodes, spec.fractions, rng)
    nodes = random_walk(matrix.indptr, matrix.indices, spec.steps, int(rng.integers(2**62)))
    sizes = (len(spec.blocks), len(spec.capacities), spec.fractions)
    hit_rate = np.empty(sizes)
    q_frac, q_newman = np.empty((sizes[0], sizes[2])), np.empty((sizes[0], sizes[2]))
    for f, layout in enumerate(positions):
        visited = (layout[nodes] * _ITEM_BYTES).astype(np.uint64)
        for b, block in enumerate(spec.blocks):
            q_frac[b, f], q_newman[b, f] = modularity(matrix, layout // block)
            for c, capacity in enumerate(spec.capacities):
                hit_rate[b, c, f] = _hit_rate(visited, block, capacity)
    size = graph.nodes // graph.communities
    ends = matrix.tocoo()
    return Locality(
        mixing=float(np.mean(ends.row // size != ends.col // size)),
        edges=matrix.nnz // 2,
        q_frac=q_frac,
        q_newman=q_newman,
        hit_rate=hit_rate,
    )


def modularity(matrix: scipy.sparse.csr_array, block: NDArray[np.int64]) -> tuple[float, float]:
    """Return (Q_frac, Newman's Q) of the partition of an unweighted graph into `block`s (N,)."""
    ends = matrix.tocoo()
    share = float(np.mean(block[ends.row] == block[ends.col]))
    degree = np.bincount(block, weights=np.diff(matrix.indptr))
    return share, share - float(np.sum((degree / matrix.nnz) ** 2))


def _hit_rate(addresses: NDArray[np.uint64], block: int, capacity: int) -> float:
    line = block * _ITEM_BYTES
    cache = Hierarchy([Level(capacity * line, capacity, line)])
    cache.access(addresses)
    rate = cache.counts().levels[0].hit_rate
    assert rate is not None  # the walk has steps
    return rate
