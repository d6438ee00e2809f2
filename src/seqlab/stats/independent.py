"""Comparisons of two independent samples of run-level values: tests and effect sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from seqlab.stats.paired import IDENTICAL, hedges_factor
from seqlab.stats.splits import share_at_least, splits

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Welch:
    """Two-sided Welch test of mean(a) = mean(b), and how far apart the samples are.

    Attributes:
        reason: Why there is no test; empty where there is one. Undefined numbers are then NaN.
        n: Values of the smaller sample.
        estimate: mean(a) - mean(b).
        ci_low: Lower end of the t interval.
        ci_high: Upper end of the t interval.
        t: Test statistic.
        df: Degrees of freedom after Welch and Satterthwaite.
        p: Two-sided p value.
        error: Standard error of the estimate.
        hedges_g: Difference over the pooled standard deviation, corrected for small samples; 0
            where both samples are one and the same number.
        cliffs_delta: P(a > b) - P(a < b).
    """

    reason: str
    n: int
    estimate: float
    ci_low: float
    ci_high: float
    t: float
    df: float
    p: float
    error: float
    hedges_g: float
    cliffs_delta: float

    def tost_p(self, lower: float, upper: float) -> float:
        """Return the larger p of both one-sided tests against equivalence bounds; NaN without."""
        if self.reason:
            return math.nan
        below = float(stdtr(self.df, -(self.estimate - lower) / self.error))
        above = float(stdtr(self.df, (self.estimate - upper) / self.error))
        return max(below, above)


def welch(a: ArrayLike, b: ArrayLike, alpha: float = 0.05) -> Welch:
    """Compare two samples of independent runs.

    Args:
        a: Treatment, shape (n,).
        b: Control, shape (m,).
        alpha: One minus the coverage of the interval.

    Raises:
        ValueError: A sample is not one-dimensional or is empty.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if first.ndim != 1 or second.ndim != 1 or not (first.size and second.size):
        raise ValueError("two samples of at least one value are needed")
    n = min(first.size, second.size)
    estimate = float(first.mean() - second.mean())
    delta = float(np.sign(first[:, None] - second).mean())
    reason = _degeneracy(first, second)
    nan = math.nan
    if reason:
        effect = 0.0 if reason == IDENTICAL else nan
        return Welch(reason, n, estimate, nan, nan, nan, nan, nan, nan, effect, delta)
    variances = np.array([first.var(ddof=1), second.var(ddof=1)])
    sizes = np.array([first.size, second.size])
    parts = variances / sizes
    error = float(np.sqrt(parts.sum()))
    df = float(parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum())
    half = float(stdtrit(df, 1 - alpha / 2)) * error
    freedom = int(sizes.sum()) - 2
    pooled = math.sqrt(float((variances * (sizes - 1)).sum()) / freedom)
    return Welch(
        reason="",
        n=n,
        estimate=estimate,
        ci_low=estimate - half,
        ci_high=estimate + half,
        t=estimate / error,
        df=df,
        p=float(2 * stdtr(df, -abs(estimate / error))),
        error=error,
        hedges_g=hedges_factor(freedom) * estimate / pooled,
        cliffs_delta=delta,
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """A two-sided exchange test of two means.

    Attributes:
        p: Share of splits of the pooled values whose means are at least as far apart.
        floor: Smallest p that so many values allow.
    """

    p: float
    floor: float


def exchange_test(a: ArrayLike, b: ArrayLike, rng: np.random.Generator) -> Exchange:
    """Count the splits of two pooled samples whose means are as far apart as theirs.

    Args:
        a: Shape (n,), finite.
        b: Shape (m,), finite.
        rng: Source of splits where there are too many to count.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    pooled = np.concatenate((first, second))
    groups, complete = splits(pooled.size, first.size, rng)
    sums = groups @ pooled
    # The mean of the rest follows from the sum of all.
    far = np.abs(sums / first.size - (pooled.sum() - sums) / second.size)
    own = abs(float(first.mean() - second.mean()))
    p = share_at_least(far, own, complete, 1e-12 * float(np.abs(pooled).sum()))
    # Of equally large samples the opposite split is always as far apart.
    least = (2 if first.size == second.size else 1) / len(groups)
    return Exchange(p, least if complete else 1 / (len(groups) + 1))


def _degeneracy(a: FloatArray, b: FloatArray) -> str:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "not a finite number in every run"
    if min(a.size, b.size) < 2:
        return f"{min(a.size, b.size)} run: at least 2 are needed"
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        if a[0] == b[0]:
            return IDENTICAL
        return f"{a[0]:.6g} and {b[0]:.6g} in every run: no variance to test"
    return ""
