"""Orders of the nodes of a large sparse graph, for kernels that walk it row by row.

`solvers` works on dense affinities of feature dimensions; a graph of 10^5 nodes and 10^6 edges has
no dense matrix. Orders:

- `original`, `random`: controls.
- `degree`: nodes of many neighbours first.
- `rcm`: reverse Cuthill-McKee (George and Liu, 1981), which makes the band narrow.
- `metis`: parts of METIS brought to exactly `block` nodes (needs pymetis), one after the other.
- `multilevel`: ours. Matched pairs merge until about 2,048 nodes are left; those are put into
  balanced blocks along their Fiedler order; every node is then expanded into what it was merged
  from, the order is cut into blocks of exactly `block` nodes, single nodes move to where their
  neighbours are, and the blocks in turn are merged and ordered, so that tied blocks are close.

Every order is deterministic given its seed. Unlike the solvers', orders may depend on how nodes are
labelled (ties go to the lower index).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from seqlab.errors import UserError
from seqlab.layout.arrange import arranged
from seqlab.layout.balance import block_sizes
from seqlab.layout.canonical import require_symmetric
from seqlab.layout.coarsening import Level, contracted, hierarchy
from seqlab.layout.matching import matched_blocks
from seqlab.layout.metis import metis_parts
from seqlab.layout.permutation import Permutation
from seqlab.layout.refine import refine
from seqlab.layout.sparse_blocks import balanced, improved
from seqlab.layout.spectral import fiedler_order

COARSE_NODES = 2048
# Blocks that end up side by side because they were merged, at the coarsest level.
_BLOCKS_TOGETHER = 32

Integers = npt.NDArray[np.int64]


def node_order(
    graph: sp.spmatrix | sp.sparray, order: str, seed: int, *, block: int = 256
) -> Permutation:
    """Order the nodes of a graph.

    Args:
        graph: (N, N) SciPy sparse matrix; symmetric, non-negative, finite, with a zero diagonal.
        order: One of `ORDERS`.
        seed: Start of `random`, `metis` and `multilevel`.
        block: Nodes of a part (`metis`) or block (`multilevel`).

    Raises:
        UserError: The graph breaks one of its conditions, the order is unknown or its package is
            missing, or `block` is below one.
    """
    if order not in _ORDERS:
        raise UserError(f"node order {order!r} is none of {', '.join(ORDERS)}")
    if block < 1:
        raise UserError(f"a block holds at least one node, not {block}")
    if not sp.issparse(graph):
        raise UserError(f"a graph is a SciPy sparse matrix, not {type(graph).__name__}")
    require_symmetric(graph)
    nodes = graph.shape[0]
    if nodes < 2:
        return Permutation.identity(nodes)
    return Permutation(_ORDERS[order](_scaled(graph), block, np.random.default_rng(seed)))


def _scaled(graph: sp.spmatrix | sp.sparray) -> sp.csr_array:
    """Return the graph as float32 CSR without stored zeros, largest weight one."""
    copy = sp.csr_array(graph, dtype=np.float32, copy=True)
    copy.sum_duplicates()
    copy.eliminate_zeros()
    if copy.nnz:
        copy.data /= copy.data.max()
    return copy


def _original(graph: sp.csr_array, block: int, rng: np.random.Generator) -> Integers:
    return np.arange(graph.shape[0])


def _random(graph: sp.csr_array, block: int, rng: np.random.Generator) -> Integers:
    return rng.permutation(graph.shape[0])


def _degree(graph: sp.csr_array, block: int, rng: np.random.Generator) -> Integers:
    return np.argsort(-np.diff(graph.indptr), kind="stable")


def _rcm(graph: sp.csr_array, block: int, rng: np.random.Generator) -> Integers:
    order = sp.csgraph.reverse_cuthill_mckee(graph, symmetric_mode=True)
    return order.astype(np.int64)


def _metis(graph: sp.csr_array, block: int, rng: np.random.Generator) -> Integers:
    sizes = block_sizes(graph.shape[0], block)
    parts = balanced(graph, metis_parts(graph, sizes.size, rng), sizes)
    return np.argsort(parts, kind="stable")


def _multilevel(graph: sp.csr_array, block: int, rng: np.random.Generator) -> Integers:
    levels = hierarchy(graph, COARSE_NODES, rng)
    order = _expanded(levels, _coarse_order(levels[-1], block, rng))
    sizes = block_sizes(order.size, block)
    labels = np.empty_like(order)
    labels[order] = np.arange(order.size) // block
    labels = _block_places(graph, improved(graph, labels, sizes, rng), sizes, rng)
    # Nodes that stay keep their place next to those they were merged with.
    return order[np.argsort(labels[order], kind="stable")]


def _block_places(
    graph: sp.csr_array, labels: Integers, sizes: Integers, rng: np.random.Generator
) -> Integers:
    """Renumber blocks so that strongly tied ones follow each other; a ragged one stays last."""
    count = sizes.size
    together = max(1, min(count // _BLOCKS_TOGETHER, COARSE_NODES))
    levels = hierarchy(contracted(graph, labels, count), together, rng)
    along, _ = fiedler_order(_dense(levels[-1].graph), rng)
    order = _expanded(levels, along)
    if sizes[-1] != sizes[0]:
        order = np.append(order[order != count - 1], count - 1)
    places = np.empty_like(order)
    places[order] = np.arange(count)
    return places[labels]


def _coarse_order(coarsest: Level, block: int, rng: np.random.Generator) -> Integers:
    """Order the coarsest nodes: blocks along their quotient graph, nodes along their block."""
    count = coarsest.sizes.size
    affinity = _dense(coarsest.graph)
    along, _ = fiedler_order(affinity, rng)
    share = max(1, round(block * count / int(coarsest.sizes.sum())))
    sizes = block_sizes(count, share)
    if share == 1 or sizes.size == 1:
        return along
    slices = np.empty_like(along)
    slices[along] = np.arange(count) // share
    starts = [slices, matched_blocks(affinity, share)]
    labels = refine(affinity, starts, sizes.size, rng=rng, kicks=0)
    nodes, _ = arranged(affinity, labels, rng)
    return nodes


def _dense(graph: sp.csr_array) -> npt.NDArray[np.float32]:
    """Return the graph as a dense, exactly symmetric float32 matrix, largest entry one."""
    dense = graph.toarray()
    # Sums of edges may differ from their mirror by rounding.
    dense = dense + dense.T
    largest = dense.max(initial=0)
    return np.asarray(dense / largest if largest > 0 else dense, np.float32)


def _expanded(levels: list[Level], order: Integers) -> Integers:
    """Turn an order of the coarsest nodes into one of the finest, merged nodes side by side."""
    for level in reversed(levels[:-1]):
        assert level.parents is not None
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        order = np.argsort(place[level.parents], kind="stable")
    return order


_ORDERS: dict[str, Callable[[sp.csr_array, int, np.random.Generator], Integers]] = {
    "original": _original,
    "random": _random,
    "degree": _degree,
    "rcm": _rcm,
    "metis": _metis,
    "multilevel": _multilevel,
}
ORDERS = tuple(_ORDERS)
