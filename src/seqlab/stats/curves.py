"""Shapes of a curve over levels, with intervals from resampled runs: spread, hinge, power law.

A curve has one value per level, the mean over runs; runs are resampled whole, so that what the
levels of one run share stays together. Intervals are percentiles, expanded for few runs; so few
carry no bias correction of a fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.stats.bootstrap import Interval, expanded_level, interval_from_replicates

FloatArray = NDArray[np.float64]

_PLACES = 200
_EXPONENTS = np.linspace(-4.0, 4.0, 801)


def curve_interval(
    curves: ArrayLike,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    rng: np.random.Generator,
    resamples: int,
    alpha: float = 0.05,
) -> Interval:
    """Bootstrap a statistic of the mean curve over runs.

    Args:
        curves: (runs, levels), one curve per run.
        statistic: Maps mean curves (..., levels) to numbers (...).
        rng: Source of the resamples.
        resamples: Number of resamples.
        alpha: One minus the coverage.

    Raises:
        ValueError: Fewer than two runs, or a value that is not finite.
    """
    values = np.asarray(curves, dtype=np.float64)
    runs = values.shape[0]
    if values.ndim != 2 or runs < 2 or not np.isfinite(values).all():
        raise ValueError(f"finite curves of at least 2 runs are needed, got {values.shape}")
    drawn = rng.integers(0, runs, (resamples, runs))
    replicates = np.asarray(statistic(values[drawn].mean(1)))
    estimate = float(statistic(values.mean(0)))
    return interval_from_replicates(
        estimate,
        replicates,
        lambda: replicates,
        runs,
        method="percentile",
        alpha=expanded_level(alpha, runs),
    )


@dataclass(frozen=True)
class Hinge:
    """Curves that are level up to a point and a line from there on.

    Attributes:
        place: (...) where the line begins, in units of x.
        level: (...) value up to there.
        slope: (...) rise per unit of x beyond.
    """

    place: FloatArray
    level: FloatArray
    slope: FloatArray


def fit_hinge(x: ArrayLike, y: ArrayLike) -> Hinge:
    """Fit y = level + slope max(0, x - place) by least squares.

    The place is searched on a grid from the first x to the last but one; beyond that a single point
    would decide the slope.

    Args:
        x: (levels,) ascending.
        y: (..., levels).

    Raises:
        ValueError: Fewer than four levels: the fit has three parameters.
    """
    at, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if at.ndim != 1 or at.size < 4 or values.shape[-1] != at.size:
        raise ValueError(f"a hinge needs at least 4 levels, got {at.shape} and {values.shape}")
    places = np.linspace(at[0], at[-2], _PLACES)
    designs = np.stack(
        [np.ones((_PLACES, at.size)), np.maximum(0.0, at - places[:, None])], axis=-1
    )
    solved = np.einsum("pkl,...l->...pk", np.linalg.pinv(designs), values)
    fitted = np.einsum("plk,...pk->...pl", designs, solved)
    residual = ((fitted - values[..., None, :]) ** 2).sum(-1)
    best = residual.argmin(-1)
    chosen = np.take_along_axis(solved, best[..., None, None], axis=-2)[..., 0, :]
    return Hinge(places[best], chosen[..., 0], chosen[..., 1])


def fit_power(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Fit y = scale x^exponent by least squares; y may be negative or zero.

    Args:
        x: (levels,) positive.
        y: (..., levels).

    Returns:
        Exponent (...), searched from -4 to 4 in steps of 0.01, and the value at the geometric mean
        of x (...), which carries the sign.
    """
    at, values = np.log(np.asarray(x, dtype=np.float64)), np.asarray(y, dtype=np.float64)
    shapes = np.exp(_EXPONENTS[:, None] * (at - at.mean()))
    scale = values @ shapes.T / (shapes**2).sum(-1)
    # What the best scale leaves: the least where the explained part is the largest.
    explained = scale**2 * (shapes**2).sum(-1)
    best = explained.argmax(-1)
    return _EXPONENTS[best], np.take_along_axis(scale, best[..., None], axis=-1)[..., 0]
