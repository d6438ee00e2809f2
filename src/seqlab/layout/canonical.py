"""Check an affinity and bring it to an order that does not depend on how its nodes are labelled.

A solver that draws random numbers, or breaks ties by index, gives different partitions for
`W[p][:, p]` and `W`. Solvers here therefore never see the caller's labels: nodes are first sorted
by a hash of the multiset of their weights, refined as in the Weisfeiler-Leman colouring. Integer
sums that wrap around do not depend on the order of their terms, so the keys, and with them the
matrix the solver works on, are equal bit for bit whatever the labelling. Only nodes whose keys
coincide (interchangeable ones, in practice) keep the order they came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from seqlab.errors import UserError

MAX_NODES = 20_000
_ASYMMETRY = 1e-9
_TILE = 512
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_CHUNK = 1 << 18

Affinity: TypeAlias = npt.NDArray[np.float64] | sp.spmatrix | sp.sparray


def is_sparse(affinity: Affinity) -> TypeGuard[sp.spmatrix | sp.sparray]:
    """Return whether `affinity` is a SciPy sparse matrix or array."""
    return sp.issparse(affinity)


def require_symmetric(affinity: Affinity) -> None:
    """Check that `affinity` is square, finite, non-negative, symmetric and without a diagonal.

    Raises:
        UserError: The first of these properties that fails, with an offending entry.
    """
    _require_square(affinity)
    values = affinity.tocsr() if is_sparse(affinity) else np.asarray(affinity)
    _require_range(values)
    _require_hollow(values)
    largest = float(values.max()) if values.shape[0] else 0.0
    if sp.issparse(values):
        gap = abs(values - values.T)
        worst = float(gap.max()) if gap.nnz else 0.0
    else:
        worst = max((float(np.abs(a - b).max()) for _, _, a, b in _tiles(values)), default=0.0)
    _require_small_gap(worst, largest)


def scaled_symmetric(affinity: Affinity) -> npt.NDArray[np.float32]:
    """Return `affinity / max` as a dense, exactly symmetric (D, D) float32 matrix.

    Raises:
        UserError: As `require_symmetric`; or a sparse affinity has more than `MAX_NODES` nodes.
    """
    _require_square(affinity)
    size = affinity.shape[0]
    if size > MAX_NODES:
        raise UserError(
            f"affinity of {size} nodes: layouts are solved on a dense matrix of at most "
            f"{MAX_NODES} nodes",
            fix="aggregate nodes first, or lay out one component at a time",
        )
    if is_sparse(affinity):
        require_symmetric(affinity)
        largest = float(affinity.max()) if size else 0.0
        dense = affinity.toarray() * (1.0 / largest if largest > 0 else 0.0)
        return (0.5 * (dense + dense.T)).astype(np.float32)
    values = np.asarray(affinity)
    _require_range(values)
    _require_hollow(values)
    largest = float(values.max()) if size else 0.0
    scaled = np.empty((size, size), np.float32)
    factor, worst = (0.5 / largest if largest > 0 else 0.0), 0.0
    for rows, columns, upper, lower in _tiles(values):
        worst = max(worst, float(np.abs(upper - lower).max()))
        mean = ((upper + lower) * factor).astype(np.float32)
        scaled[rows, columns] = mean
        scaled[columns, rows] = mean.T
    _require_small_gap(worst, largest)
    return scaled


def canonical_order(scaled: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return (D,) node indices sorted by label-free keys, ties by index.

    Args:
        scaled: (D, D) symmetric float32 affinity.
    """
    size = scaled.shape[0]
    keys = np.zeros(size, np.uint64)
    classes = 1 if size else 0
    while classes < size:
        keys = _refined_keys(scaled, keys)
        found = np.unique(keys).size
        if found <= classes:
            break
        classes = found
    return np.lexsort((np.arange(size), keys))


def _refined_keys(
    scaled: npt.NDArray[np.float32], keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Return new (D,) keys from each node's own key and the multiset of (weight, other's key)."""
    size = scaled.shape[0]
    neighbour = _mixed(keys + np.uint64(1))
    refined = _mixed(neighbour)
    step = max(1, _CHUNK // size)
    # Adding zero turns -0.0, which compares equal to 0.0, into the same bits.
    for start in range(0, size, step):
        bits = (scaled[start : start + step] + np.float32(0)).view(np.uint32).astype(np.uint64)
        bits += neighbour
        refined[start : start + step] += _mixed(bits).sum(axis=1, dtype=np.uint64)
    return refined


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit words (the finaliser of splitmix64; Steele, Lea and Flood, 2014)."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= _MIX_1
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX_2
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _tiles(
    values: npt.NDArray[np.float64],
) -> Iterator[tuple[slice, slice, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield `(rows, columns, W[rows, columns], W[columns, rows].T)` over the upper triangle."""
    size = values.shape[0]
    for top in range(0, size, _TILE):
        rows = slice(top, min(top + _TILE, size))
        for left in range(top, size, _TILE):
            columns = slice(left, min(left + _TILE, size))
            yield rows, columns, values[rows, columns], values[columns, rows].T


def _require_square(affinity: Affinity) -> None:
    if affinity.ndim != 2 or affinity.shape[0] != affinity.shape[1]:
        raise UserError(f"an affinity is a square matrix, not of shape {tuple(affinity.shape)}")


def _require_range(values: npt.NDArray[np.float64] | sp.csr_array) -> None:
    stored = values if isinstance(values, np.ndarray) else values.data
    if not stored.size:
        return
    smallest, largest = float(stored.min()), float(stored.max())
    if not (np.isfinite(smallest) and np.isfinite(largest)):
        raise UserError(
            f"affinity has {int((~np.isfinite(stored)).sum())} entries that are NaN or infinite",
            fix="look for constant or overflowing channels in the activations",
        )
    if smallest < 0:
        raise UserError(
            f"affinity has negative weights (smallest {smallest:g})",
            fix='map correlations with seqlab.layout.affinity.affinity(..., mode="abs" or "relu")',
        )


def _require_hollow(values: npt.NDArray[np.float64] | sp.csr_array) -> None:
    diagonal = values.diagonal()
    if diagonal.any():
        node = int(np.flatnonzero(diagonal)[0])
        raise UserError(
            f"affinity of node {node} with itself is {diagonal[node]:g}, not zero",
            fix="set the diagonal to zero: it says nothing about a layout",
        )


def _require_small_gap(worst: float, largest: float) -> None:
    if worst > _ASYMMETRY * largest:
        raise UserError(
            f"affinity is not symmetric (entries differ from their mirror by up to {worst:g})",
            fix="symmetrise it, for instance with numpy.maximum(W, W.T)",
        )
