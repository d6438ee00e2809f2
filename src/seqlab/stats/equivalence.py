"""Two one-sided tests of whether a paired difference lies inside a margin fixed in advance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr


@dataclass(frozen=True, slots=True)
class Tost:
    """Result of two one-sided paired t tests (Schuirmann 1987).

    Attributes:
        p: The larger of both p values; equivalence is shown at level alpha if p < alpha.
        p_lower: Against "the mean is at or below the lower bound".
        p_upper: Against "the mean is at or above the upper bound".
        lower: Lower bound, unit of the differences.
        upper: Upper bound.
    """

    p: float
    p_lower: float
    p_upper: float
    lower: float
    upper: float


def tost(difference: ArrayLike, lower: float, upper: float) -> Tost:
    """Test whether the mean of paired differences lies between two bounds.

    Args:
        difference: Paired differences, shape (n,); logs of ratios for a relative margin.
        lower: Lower equivalence bound, same unit.
        upper: Upper equivalence bound, same unit.

    Returns:
        NaN p values where the differences have no variance, fewer than two values or a non-finite
        one.

    Raises:
        ValueError: The bounds are not ordered.
    """
    if not lower < upper:
        raise ValueError(f"equivalence bounds must be ordered, got {lower} and {upper}")
    d = np.asarray(difference, dtype=np.float64)
    if d.size < 2 or not np.isfinite(d).all() or d.std(ddof=1) == 0:
        return Tost(math.nan, math.nan, math.nan, lower, upper)
    error = d.std(ddof=1) / math.sqrt(d.size)
    p_lower = float(stdtr(d.size - 1, -(d.mean() - lower) / error))
    p_upper = float(stdtr(d.size - 1, (d.mean() - upper) / error))
    return Tost(max(p_lower, p_upper), p_lower, p_upper, lower, upper)


def relative_bounds(margin: float) -> tuple[float, float]:
    """Return the symmetric bounds on the log of a ratio for a relative margin (0.02 = 2 %).

    Raises:
        ValueError: The margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"a relative margin must be positive, got {margin}")
    return -math.log1p(margin), math.log1p(margin)
