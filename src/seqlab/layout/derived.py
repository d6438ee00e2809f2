"""Affinities derived from an affinity: nearness of random walks, and of projected rows.

Ablations put them in place of the affinity that was measured. Both are (D, D) float32, exactly
symmetric, non-negative, with a zero diagonal and a largest entry of one (unless all are zero).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Dense = npt.NDArray[np.float32]

# Steps of the walk and dimensions of the projection.
STEPS = 4
PROJECTED = 64


def walk_affinity(affinity: Dense, steps: int = STEPS) -> Dense:
    """Return how near two nodes are for a random walk, exp(-r^2 / median r^2).

    r_ij is the distance of Walktrap (Pons and Latapy, 2005): with P = D^-1 W, the distance between
    rows i and j of P^t D^-1/2. The median is over all pairs. Nodes without affinity are near no
    other node.

    Args:
        affinity: (D, D) symmetric float32, non-negative.
        steps: Length t of the walk.
    """
    degree = affinity.sum(axis=1, dtype=np.float64)
    alive = degree > 0
    inverse = np.divide(1, degree, out=np.zeros_like(degree), where=alive)
    step = (affinity * inverse[:, None]).astype(np.float32)
    reached = step
    for _ in range(steps - 1):
        reached = reached @ step
    # What all walks share would only cost digits of the differences.
    rows = (reached - reached[alive].mean(axis=0)) if alive.any() else reached
    rows = rows * np.sqrt(inverse).astype(np.float32)
    products = rows @ rows.T
    length = np.diag(products)
    distance = np.maximum(length[:, None] + length - (products + products.T), 0)
    typical = np.median(distance[np.triu_indices(len(distance), 1)])
    near = np.exp(-distance / typical) if typical > 0 else (distance == 0).astype(np.float32)
    near *= np.outer(alive, alive)
    return _finished(near)


def projected_affinity(affinity: Dense, rng: np.random.Generator, dims: int = PROJECTED) -> Dense:
    """Return the correlation of rows as a random projection estimates it, negative ones as zero.

    Rows, less their mean, are projected on Gaussian directions; the cosine of two projections
    estimates the correlation of the rows within about 1 / sqrt(dims) (Johnson and Lindenstrauss,
    1984).

    Args:
        affinity: (D, D) symmetric float32, non-negative.
        rng: Draws the directions.
        dims: Number of directions.
    """
    size = affinity.shape[0]
    rows = affinity - affinity.mean(axis=1, keepdims=True)
    projected = rows @ rng.standard_normal((size, dims), dtype=np.float32)
    length = np.linalg.norm(projected, axis=1, keepdims=True)
    unit = np.divide(projected, length, out=np.zeros_like(projected), where=length > 0)
    return _finished(np.maximum(unit @ unit.T, 0))


def _finished(values: Dense) -> Dense:
    """Make a matrix exactly symmetric, hollow and at most one."""
    mean = np.asarray(values + values.T, np.float32)
    np.fill_diagonal(mean, 0)
    largest = mean.max(initial=0)
    return mean / largest if largest > 0 else mean
