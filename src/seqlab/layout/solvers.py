"""One interface to every way of choosing a layout from an affinity.

Methods:
- `identity`, `random`: controls.
- `fiedler`: order of the Fiedler vector of the normalised Laplacian.
- `spectral_balanced`: blocks of exactly B: the best of three starts (two spectral, one by
  matching), refined by swaps.
- `louvain`: communities of any size, concatenated; blocks of B may straddle them.
- `metis`: METIS parts repaired to exactly B (needs pymetis).
- `metis_refined`: the same, then the swaps of `spectral_balanced`.
- `tsp_greedy`: greedy path through the strongest affinities.
- `tsp`: the same, improved by 2-opt.

Ablations of `spectral_balanced` replace one of its parts:
- `random_clusters`: k groups of equal size, drawn at random.
- `kmeans`: k-means on the rows of the affinity.
- `spectral_kmeans`: Algorithm 1 of the original study, k-means on k eigenvectors of the
  unnormalised Laplacian.
- `hierarchical`: leaves of an average-linkage tree.
- `cut`: blocks of exactly B by recursive spectral bisection, without swaps.
- `random_walk`: `spectral_balanced` on nearness of random walks instead of the affinity.
- `random_projection`: `spectral_balanced` on correlations of randomly projected rows instead.

Groups and blocks of all methods are put in order by `arrange`. Those of `kmeans` and
`spectral_kmeans` are of any size, as those of `louvain`.

Every method is deterministic given its seed and does not depend on how nodes are labelled:
`solve(W[p][:, p])` gives the blocks of `solve(W)` under their new names (see `canonical`). The one
exception is `identity`, which is about labels. The ragged block, where B does not divide D, is the
last one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seqlab.errors import UserError
from seqlab.layout.arrange import arranged
from seqlab.layout.balance import block_sizes, fiedler_blocks, spectral_blocks
from seqlab.layout.bisection import bisected_blocks
from seqlab.layout.canonical import Affinity, canonical_order, scaled_symmetric
from seqlab.layout.clusters import kmeans_clusters, laplacian_clusters, random_clusters
from seqlab.layout.communities import louvain
from seqlab.layout.derived import projected_affinity, walk_affinity
from seqlab.layout.linkage import leaf_order
from seqlab.layout.matching import matched_blocks
from seqlab.layout.metis import metis_blocks
from seqlab.layout.objective import objective, q_frac, q_newman
from seqlab.layout.permutation import Permutation
from seqlab.layout.refine import refine
from seqlab.layout.routes import greedy_route, two_opt
from seqlab.layout.spectral import embedding, fiedler_order

_LOG = logging.getLogger(__name__)

LOUVAIN_RESOLUTION = 1.2
_KICK_WORK = 4096
_MAX_KICKS = 64
_MAX_VECTORS = 192

Dense = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Solution:
    """A layout and how it came about.

    Attributes:
        permutation: The layout, `indices[new] = old`.
        affinity: (D, D), what it was solved for.
        block: Nodes to a block, B.
        clusters: Groups that the method formed.
        runtime_s: Seconds of the processor.
        fallback: What replaced a step that failed, or None.
    """

    permutation: Permutation
    affinity: Affinity
    block: int
    clusters: int
    runtime_s: float
    fallback: str | None

    @cached_property
    def stats(self) -> dict[str, Any]:
        """What the layout is worth, which takes as long as some methods do.

        `J` and `C` (objective.objective, without previous layout), `Q_frac` and `Q_newman` (blocks
        of B), and `clusters`, `runtime_s` and `fallback`.
        """
        value = objective(self.affinity, self.permutation)
        return {
            "J": value.value,
            "C": value.distance,
            "Q_frac": q_frac(self.affinity, self.permutation, self.block),
            "Q_newman": q_newman(self.affinity, self.permutation, self.block),
            "clusters": self.clusters,
            "runtime_s": self.runtime_s,
            "fallback": self.fallback,
        }


@dataclass(frozen=True)
class _Order:
    nodes: npt.NDArray[np.int64]
    clusters: int
    fallback: str | None = None


def solve(
    affinity: Affinity, method: str, block: int, seed: int, *, clusters: int | None = None
) -> Solution:
    """Choose a layout that brings nodes of large affinity into the same block.

    Args:
        affinity: (D, D) weights, float64 or SciPy sparse; symmetric, non-negative, finite, with a
            zero diagonal.
        method: One of `METHODS`.
        block: Nodes to a block, B.
        seed: Start of the method: starting vectors, perturbations, order of visits, first node.
        clusters: Number of groups k of a method of `CLUSTER_METHODS`; ceil(D/B) if None.

    Raises:
        UserError: The affinity breaks one of its conditions, the method is unknown or its package
            is missing, `block` is below one, or `clusters` is outside 1..D or given to a method
            that has no such number.
    """
    if method not in METHODS:
        raise UserError(f"layout method {method!r} is none of {', '.join(METHODS)}")
    if block < 1:
        raise UserError(f"a block holds at least one node, not {block}")
    _require_clusters(clusters, method, affinity.shape[0])
    # Of the processor: timings of others interrupt what is not timed.
    started = time.process_time()
    scaled = scaled_symmetric(affinity)
    found = _solve_canonical(scaled, method, block, seed, clusters)
    runtime = time.process_time() - started
    if found.fallback:
        _LOG.warning("layout by %s fell back: %s", method, found.fallback)
    return Solution(
        Permutation(found.nodes), affinity, block, found.clusters, runtime, found.fallback
    )


def _require_clusters(clusters: int | None, method: str, size: int) -> None:
    if clusters is None:
        return
    if method not in CLUSTER_METHODS:
        raise UserError(
            f"layout method {method} takes no number of clusters",
            fix=f"leave it out, or choose one of {', '.join(CLUSTER_METHODS)}",
        )
    if not 1 <= clusters <= size:
        raise UserError(f"{size} nodes cannot form {clusters} clusters")


def _solve_canonical(
    scaled: Dense, method: str, block: int, seed: int, clusters: int | None
) -> _Order:
    """Run a method on nodes in canonical order and translate its answer back."""
    size = scaled.shape[0]
    count = block_sizes(size, block).size
    if method == "identity" or size < 2:
        return _Order(np.arange(size), count)
    canonical = canonical_order(scaled)
    relabelled = np.take(scaled[canonical], canonical, axis=1)
    rng = np.random.default_rng(seed)
    if method in _CLUSTERINGS:
        labels = _CLUSTERINGS[method](relabelled, clusters or count, rng)
        found = _clusters_in_order(relabelled, labels, rng)
    else:
        found = _METHODS[method](relabelled, block, rng)
    return _Order(canonical[found.nodes], found.clusters, found.fallback)


def _random(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    size = affinity.shape[0]
    return _Order(rng.permutation(size), block_sizes(size, block).size)


def _fiedler(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    nodes, fallback = fiedler_order(affinity, rng)
    return _Order(nodes, block_sizes(nodes.size, block).size, fallback)


def _spectral_balanced(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    count = block_sizes(affinity.shape[0], block).size
    vectors = embedding(affinity, max(2, min(count, _MAX_VECTORS)), rng)
    # Clusters suit communities, slices of the Fiedler order bands, merged pairs sparse graphs.
    starts = [
        spectral_blocks(affinity, vectors, block),
        fiedler_blocks(affinity, vectors, block),
        matched_blocks(affinity, block),
    ]
    return _refined(affinity, starts, block, rng)


def _metis_refined(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    return _refined(affinity, [metis_blocks(affinity, block, rng)], block, rng)


def _metis(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    return _blocks_in_order(affinity, metis_blocks(affinity, block, rng), block, rng)


def _louvain(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    labels = louvain(affinity, LOUVAIN_RESOLUTION, rng)
    return _clusters_in_order(affinity, labels, rng)


def _hierarchical(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    return _Order(leaf_order(affinity), block_sizes(affinity.shape[0], block).size)


def _cut(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    return _blocks_in_order(affinity, bisected_blocks(affinity, block), block, rng)


def _random_walk(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    return _spectral_balanced(walk_affinity(affinity), block, rng)


def _random_projection(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    return _spectral_balanced(projected_affinity(affinity, rng), block, rng)


def _tsp_greedy(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    size = affinity.shape[0]
    route = greedy_route(affinity, int(rng.integers(size)))
    return _Order(route, block_sizes(size, block).size)


def _tsp(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    size = affinity.shape[0]
    route = two_opt(affinity, greedy_route(affinity, int(rng.integers(size))))
    return _Order(route, block_sizes(size, block).size)


def _refined(
    affinity: Dense, starts: list[npt.NDArray[np.int64]], block: int, rng: np.random.Generator
) -> _Order:
    """Refine balanced blocks by swaps; small graphs can afford more perturbations."""
    size = affinity.shape[0]
    kicks = min(_MAX_KICKS, _KICK_WORK // size)
    count = block_sizes(size, block).size
    refined = refine(affinity, starts, count, rng=rng, kicks=kicks)
    return _blocks_in_order(affinity, refined, block, rng)


def _blocks_in_order(
    affinity: Dense, labels: npt.NDArray[np.integer], block: int, rng: np.random.Generator
) -> _Order:
    sizes = block_sizes(affinity.shape[0], block)
    ragged = sizes.size - 1 if sizes[-1] != block else None
    nodes, fallback = arranged(affinity, labels, rng, last=ragged)
    return _Order(nodes, sizes.size, fallback)


def _clusters_in_order(
    affinity: Dense, labels: npt.NDArray[np.integer], rng: np.random.Generator
) -> _Order:
    """Concatenate groups of any size."""
    nodes, fallback = arranged(affinity, labels, rng)
    return _Order(nodes, int(labels.max()) + 1, fallback)


def _identity(affinity: Dense, block: int, rng: np.random.Generator) -> _Order:
    size = affinity.shape[0]
    return _Order(np.arange(size), block_sizes(size, block).size)


_METHODS: dict[str, Callable[[Dense, int, np.random.Generator], _Order]] = {
    "identity": _identity,
    "random": _random,
    "fiedler": _fiedler,
    "spectral_balanced": _spectral_balanced,
    "louvain": _louvain,
    "metis": _metis,
    "metis_refined": _metis_refined,
    "hierarchical": _hierarchical,
    "cut": _cut,
    "random_walk": _random_walk,
    "random_projection": _random_projection,
    "tsp_greedy": _tsp_greedy,
    "tsp": _tsp,
}
# Affinity, number of groups and generator to the (D,) group of each node, none empty.
_CLUSTERINGS: dict[str, Callable[[Dense, int, np.random.Generator], npt.NDArray[np.int64]]] = {
    "random_clusters": lambda affinity, k, rng: random_clusters(affinity.shape[0], k, rng),
    "kmeans": kmeans_clusters,
    "spectral_kmeans": laplacian_clusters,
}
CLUSTER_METHODS = tuple(_CLUSTERINGS)
METHODS = (*_METHODS, *CLUSTER_METHODS)
