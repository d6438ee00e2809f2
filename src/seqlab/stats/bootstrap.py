"""Seeded bootstrap intervals: percentile and bias-corrected accelerated (BCa), vectorised.

BCa follows Efron (1987): bias from the share of resamples below the estimate (ties count half),
acceleration from the jackknife. Where BCa is undefined the interval is the percentile interval and
says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

FloatArray = NDArray[np.float64]
Method = Literal["percentile", "bca"]

# Elements of the resampled data held at once (64 MB per sample).
_CHUNK_ELEMENTS = 8_000_000


class Statistic(Protocol):
    """A statistic of one or more paired samples, vectorised over leading axes."""

    def __call__(self, *samples: FloatArray, axis: int) -> FloatArray:
        """Reduce `axis` of every sample."""
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval.

    Attributes:
        estimate: The statistic of the data.
        low: Lower end.
        high: Upper end.
        method: Method that produced the ends.
        fallback: Why BCa was replaced by the percentile interval; empty otherwise.
        n: Number of observations (or clusters) resampled.
        resamples: Number of resamples that gave a finite statistic.
    """

    estimate: float
    low: float
    high: float
    method: Method
    fallback: str
    n: int
    resamples: int


def bootstrap_interval(
    samples: ArrayLike | Sequence[ArrayLike],
    statistic: Statistic,
    *,
    rng: np.random.Generator,
    resamples: int = 10_000,
    method: Method = "bca",
    alpha: float = 0.05,
) -> Interval:
    """Bootstrap a statistic of one sample, or of several samples paired by index.

    Args:
        samples: One vector of shape (n,), or a tuple of them that are resampled together.
        statistic: `statistic(*samples, axis=-1)`, vectorised over leading axes (`np.mean`, ...).
        rng: Source of the resamples.
        resamples: Number of resamples.
        method: `percentile` or `bca`.
        alpha: One minus the coverage.

    Raises:
        ValueError: Fewer than two observations, unequal lengths or a non-finite value.
    """
    columns = _columns(samples)
    n = columns[0].size
    estimate = float(statistic(*columns, axis=-1))
    replicates = np.empty(resamples)
    chunk = max(1, _CHUNK_ELEMENTS // n)
    for start in range(0, resamples, chunk):
        stop = min(start + chunk, resamples)
        index = rng.integers(0, n, (stop - start, n))
        replicates[start:stop] = statistic(*(column[index] for column in columns), axis=-1)

    def jackknife() -> FloatArray:
        keep = np.arange(n - 1) + (np.arange(n - 1) >= np.arange(n)[:, None])
        return np.asarray(statistic(*(column[keep] for column in columns), axis=-1))

    return interval_from_replicates(estimate, replicates, jackknife, n, method=method, alpha=alpha)


def interval_from_replicates(
    estimate: float,
    replicates: FloatArray,
    jackknife: Callable[[], FloatArray],
    n: int,
    *,
    method: Method,
    alpha: float = 0.05,
) -> Interval:
    """Turn bootstrap replicates into an interval.

    Args:
        estimate: The statistic of the data.
        replicates: Bootstrap statistics, shape (B,); non-finite ones are left out and not counted.
        jackknife: Returns the leave-one-out statistics, shape (n,); called for BCa only.
        n: Number of units resampled.
        method: `percentile` or `bca`.
        alpha: One minus the coverage.

    Raises:
        ValueError: No replicate is finite.
    """
    finite = replicates[np.isfinite(replicates)]
    if finite.size == 0:
        raise ValueError("no bootstrap replicate is finite")
    tails = np.array([alpha / 2, 1 - alpha / 2])
    fallback = ""
    if method == "bca":
        tails, fallback = _bca_tails(estimate, finite, jackknife(), tails)
    low, high = np.quantile(finite, tails)
    used: Method = "percentile" if fallback else method
    return Interval(estimate, float(low), float(high), used, fallback, n, int(finite.size))


def expanded_level(alpha: float, units: int) -> float:
    """Return the level whose normal quantile is that of t with units - 1 degrees, widened.

    An interval of a bootstrap is too narrow by the factor sqrt((n - 1) / n) and knows nothing of
    the tails of t (Hesterberg 2015, "What teachers should know about the bootstrap").

    Args:
        alpha: One minus the coverage wanted, two-sided.
        units: Number of resampled units, at least 2.
    """
    quantile = stdtrit(units - 1, alpha / 2) * math.sqrt(units / (units - 1))
    return float(2 * ndtr(quantile))


def _bca_tails(
    estimate: float, replicates: FloatArray, leave_one_out: FloatArray, tails: FloatArray
) -> tuple[FloatArray, str]:
    """Return the adjusted quantile levels, or the given ones and why BCa is undefined."""
    below = np.count_nonzero(replicates < estimate) + np.count_nonzero(replicates <= estimate)
    share = below / (2 * replicates.size)
    if not 0 < share < 1:
        return tails, "all resamples lie on one side of the estimate"
    centred = leave_one_out.mean() - leave_one_out
    spread = float((centred**2).sum())
    if not (math.isfinite(spread) and spread > 0):
        return tails, "the jackknife has no finite spread"
    acceleration = float((centred**3).sum()) / (6 * spread**1.5)
    bias = float(ndtri(share))
    # Symmetric, from the lower tail: one minus a tail of few units rounds to 1, and its quantile to
    # infinity.
    reach = -float(ndtri(tails[0]))
    shifted = bias + np.array([-reach, reach])
    if (1 - acceleration * shifted <= 0).any():
        return tails, "the acceleration turns a tail around"
    return ndtr(bias + shifted / (1 - acceleration * shifted)), ""


def _columns(samples: ArrayLike | Sequence[ArrayLike]) -> tuple[FloatArray, ...]:
    grouped = samples if isinstance(samples, tuple) else (samples,)
    columns = tuple(np.asarray(sample, dtype=np.float64) for sample in grouped)
    n = columns[0].size
    if n < 2 or any(column.shape != (n,) for column in columns):
        raise ValueError("a bootstrap needs vectors of equal length with at least 2 values")
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("a bootstrap needs finite values")
    return columns
