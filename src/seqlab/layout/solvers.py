"""One interface to every way of choosing a layout from an affinity.

Methods:
- `identity`, `random`: controls.
- `fiedler`: order of the Fiedler vector of the normalised Laplacian.
- `spectral_balanced`: blocks of exactly B: the best of three starts (two spectral, one by
  matching), refined by swaps.
- `louvain`: communities of any size, concatenated; blocks of B may straddle them.
- `metis`: METIS parts repaired to exactly B (needs pymetis).
- `metis_refined`: the same, then the swaps of `spectral_balanced`.
- `tsp`: greedy path through the strongest affinities, improved by 2-opt.

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
from typing import Any

import numpy as np
import numpy.typing as npt

from seqlab.errors import UserError
from seqlab.layout.arrange import arranged
from seqlab.layout.balance import block_sizes, fiedler_blocks, spectral_blocks
from seqlab.layout.canonical import Affinity, canonical_order, scaled_symmetric
from seqlab.layout.communities import louvain
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
        stats: `J` and `C` (objective.objective, without previous layout), `Q_frac` and `Q_newman`
            (blocks of B), `clusters` (groups the method formed), `runtime_s` (without these
            measures) and `fallback` (what replaced a step that failed, or None).
    """

    permutation: Permutation
    stats: dict[str, Any]


@dataclass(frozen=True)
class _Order:
    nodes: npt.NDArray[np.int64]
    clusters: int
    fallback: str | None = None


def solve(affinity: Affinity, method: str, block: int, seed: int) -> Solution:
    """Choose a layout that brings nodes of large affinity into the same block.

    Args:
        affinity: (D, D) weights, float64 or SciPy sparse; symmetric, non-negative, finite, with a
            zero diagonal.
        method: One of `METHODS`.
        block: Nodes to a block, B.
        seed: Start of the method: starting vectors, perturbations, order of visits, first node.

    Raises:
        UserError: The affinity breaks one of its conditions, the method is unknown or its package
            is missing, or `block` is below one.
    """
    if method not in _METHODS:
        raise UserError(f"layout method {method!r} is none of {', '.join(METHODS)}")
    if block < 1:
        raise UserError(f"a block holds at least one node, not {block}")
    started = time.perf_counter()
    scaled = scaled_symmetric(affinity)
    found = _solve_canonical(scaled, method, block, seed)
    runtime = time.perf_counter() - started
    layout = Permutation(found.nodes)
    if found.fallback:
        _LOG.warning("layout by %s fell back: %s", method, found.fallback)
    value = objective(affinity, layout)
    stats = {
        "J": value.value,
        "C": value.distance,
        "Q_frac": q_frac(affinity, layout, block),
        "Q_newman": q_newman(affinity, layout, block),
        "clusters": found.clusters,
        "runtime_s": runtime,
        "fallback": found.fallback,
    }
    return Solution(layout, stats)


def _solve_canonical(scaled: Dense, method: str, block: int, seed: int) -> _Order:
    """Run a method on nodes in canonical order and translate its answer back."""
    size = scaled.shape[0]
    count = block_sizes(size, block).size
    if method == "identity" or size < 2:
        return _Order(np.arange(size), count)
    canonical = canonical_order(scaled)
    relabelled = np.take(scaled[canonical], canonical, axis=1)
    found = _METHODS[method](relabelled, block, np.random.default_rng(seed))
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
    nodes, fallback = arranged(affinity, labels, rng)
    return _Order(nodes, int(labels.max()) + 1, fallback)


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
    "tsp": _tsp,
}
METHODS = tuple(_METHODS)
