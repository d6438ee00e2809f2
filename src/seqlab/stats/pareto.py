"""Points that no other point beats, and the area that a set of points dominates; lower is better.

The hypervolume in two dimensions is the area between the points and a reference point that bounds
what counts (Zitzler and Thiele 1998).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Return which points are on the front, vectorised over leading axes.

    A point is dominated where another is at least as low in every coordinate and lower in one;
    equal points do not dominate each other.

    Args:
        points: Shape (..., n, d), lower is better.

    Returns:
        Shape (..., n).

    Raises:
        ValueError: A coordinate is not finite.
    """
    values = np.asarray(points, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a point of a front needs finite coordinates")
    others, own = values[..., None, :, :], values[..., :, None, :]
    beaten = (others <= own).all(-1) & (others < own).any(-1)
    return np.asarray(~beaten.any(-1))


def hypervolume(points: ArrayLike, reference: tuple[float, float]) -> float:
    """Return the area that points (n, 2) dominate below a reference point, 0 for none.

    Points that are not below the reference in both coordinates add nothing.
    """
    values = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    inside = values[(values < np.asarray(reference)).all(axis=1)]
    area, ceiling = 0.0, reference[1]
    for x, y in sorted(inside.tolist()):
        if y < ceiling:
            area += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return area
