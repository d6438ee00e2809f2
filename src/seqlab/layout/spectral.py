"""Spectral embeddings and Fiedler orders of dense affinities.

Both use the symmetric normalised affinity N = S W S with S = diag(degree)^-1/2. Its largest
eigenvalue is one; the eigenvector of the second largest, divided by sqrt(degree), is the Fiedler
vector of the random-walk Laplacian.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse.linalg as spla

_LOG = logging.getLogger(__name__)

_DIRECT = 400
_OVERSAMPLE = 8
_ITERATIONS = 6
_LANCZOS_TOLERANCE = 1e-5
_LANCZOS_RESTARTS = 300


def embedding(
    affinity: npt.NDArray[np.float32], dims: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Estimate the leading eigenvectors of the normalised affinity by subspace iteration.

    Args:
        affinity: (D, D) symmetric float32, non-negative.
        dims: Number of vectors wanted; at most D are returned.
        rng: Source of the starting block.

    Returns:
        (D, min(dims, D)) float32 orthonormal columns, largest eigenvalue first.
    """
    size = affinity.shape[0]
    width = min(size, dims + _OVERSAMPLE)
    scale = _inverse_root_degree(affinity)[:, None]
    block = rng.standard_normal((size, width), dtype=np.float32)
    for _ in range(_ITERATIONS):
        block, _ = scipy.linalg.qr(scale * (affinity @ (scale * block)), mode="economic")
    projected = block.T @ (scale * (affinity @ (scale * block)))
    _, rotation = np.linalg.eigh(projected + projected.T)
    return block @ rotation[:, ::-1][:, : min(dims, size)]


def fiedler_order(
    affinity: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], str | None]:
    """Order nodes by the Fiedler vector of their component, largest component first.

    Args:
        affinity: (D, D) symmetric float32, non-negative.
        rng: Source of the Lanczos starting vector.

    Returns:
        (D,) node indices, and what was done instead where Lanczos did not converge (or None).
    """
    pieces, fallback = [], None
    for nodes in components(affinity):
        part = affinity if nodes.size == affinity.shape[0] else affinity[np.ix_(nodes, nodes)]
        vector, note = _fiedler_vector(part, rng)
        fallback = fallback or note
        pieces.append(nodes[np.argsort(vector, kind="stable")])
    return (np.concatenate(pieces) if pieces else np.empty(0, np.int64)), fallback


def components(affinity: npt.NDArray[np.float32]) -> list[npt.NDArray[np.int64]]:
    """Return the node sets of the connected components, largest first, ties by first node."""
    found: list[npt.NDArray[np.int64]] = []
    unseen = np.ones(affinity.shape[0], bool)
    while unseen.any():
        reached = np.zeros_like(unseen)
        frontier = np.flatnonzero(unseen)[:1]
        while frontier.size:
            reached[frontier] = True
            # One row at a time would do; many rows at once only cost memory.
            touched = (affinity[frontier[:64]] > 0).any(axis=0) & ~reached
            frontier = np.concatenate((frontier[64:], np.flatnonzero(touched)))
            reached[frontier] = True
        found.append(np.flatnonzero(reached))
        unseen &= ~reached
    return sorted(found, key=lambda nodes: (-nodes.size, nodes[0]))


def batched_fiedler(blocks: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return (K, B) Fiedler vectors of K small affinities (K, B, B), by a direct method."""
    weights = blocks.astype(np.float64)
    degree = weights.sum(axis=2)
    if blocks.shape[1] < 2:
        return np.zeros(degree.shape)
    root = np.sqrt(np.where(degree > 0, degree, 1.0))
    normalised = weights / (root[:, :, None] * root[:, None, :])
    _, vectors = np.linalg.eigh(normalised)
    return _oriented(vectors[:, :, -2] / root)


def _fiedler_vector(
    affinity: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], str | None]:
    """Return the (D,) Fiedler vector of a connected affinity, and any fallback taken."""
    size = affinity.shape[0]
    if size <= _DIRECT:
        return batched_fiedler(affinity[None])[0], None
    scale = _inverse_root_degree(affinity)
    leading = 1 / scale
    leading /= np.linalg.norm(leading)
    operator = spla.LinearOperator(
        (size, size),
        matvec=lambda x: scale * (affinity @ (scale * x.ravel())) - leading * (leading @ x.ravel()),
        dtype=np.float32,
    )
    start = rng.standard_normal(size, dtype=np.float32)
    try:
        _, vectors = spla.eigsh(
            operator, 1, which="LA", v0=start, tol=_LANCZOS_TOLERANCE, maxiter=_LANCZOS_RESTARTS
        )
        vector, note = vectors[:, 0], None
    except spla.ArpackNoConvergence:
        note = "lanczos did not converge: subspace iteration"
        _LOG.warning("Fiedler vector of %d nodes: %s", size, note)
        vector = embedding(affinity, 2, rng)[:, 1]
    return _oriented((vector * scale).astype(np.float64)[None])[0], note


def _inverse_root_degree(affinity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (D,) degree^-1/2, zero for isolated nodes."""
    degree = affinity.sum(axis=1)
    return np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)


def _oriented(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Fix the sign of each row (K, B): its third moment is not negative."""
    sign = np.where((vectors**3).sum(axis=1) < 0, -1.0, 1.0)
    return vectors * sign[:, None]
