"""Paired comparisons of run-level values: t interval, exact sign-flip and signed-rank tests.

The unit is the run: pass one number per run and arm, never repeats inside a run. A comparison
without variance has no test: it comes back `degenerate` with the reason, never with p = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, stdtr, stdtrit

Status = Literal["ok", "degenerate"]
FloatArray = NDArray[np.float64]

IDENTICAL = "identical in every run"
MAX_EXACT_SIGN_FLIP = 40
MAX_EXACT_WILCOXON = 200
# A standard deviation below this many units in the last place of the data is rounding, not
# variance.
_ROUNDING_ULPS = 8.0
# Tied sums are formed in different orders; relative to sum |d| they agree to far better than this.
_TIE_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class PairedT:
    """Two-sided paired t test of mean(a - b) = 0.

    Attributes:
        status: `degenerate` where no test exists; every undefined number is then NaN.
        reason: Why it is degenerate; empty otherwise.
        n: Number of pairs.
        estimate: Mean difference a - b, in the unit of the data.
        ci_low: Lower end of the t interval.
        ci_high: Upper end of the t interval.
        t: Test statistic.
        df: Degrees of freedom, n - 1.
        p: Two-sided p value.
        sd: Standard deviation of the differences (n - 1 in the denominator).
        d_z: Mean difference over the standard deviation of the differences.
        d_av: Mean difference over the root of the mean of both arms' variances.
        g_z: d_z times the exact small-sample factor of Hedges (1981).
    """

    status: Status
    reason: str
    n: int
    estimate: float
    ci_low: float
    ci_high: float
    t: float
    df: int
    p: float
    sd: float
    d_z: float
    d_av: float
    g_z: float


@dataclass(frozen=True, slots=True)
class ExactTest:
    """An exact two-sided test and the smallest p it can reach at this n.

    Attributes:
        p: Two-sided p value; NaN where not computed.
        floor: Smallest attainable p; NaN where there is nothing to permute.
        method: `exact`, or why there is no p value.
    """

    p: float
    floor: float
    method: str


def paired_t(a: ArrayLike, b: ArrayLike, alpha: float = 0.05, *, magnitude: float = 0.0) -> PairedT:
    """Compare two arms measured in the same runs.

    Args:
        a: Treatment, shape (n,), one value per run.
        b: Control, shape (n,), same runs in the same order.
        alpha: One minus the coverage of the interval.
        magnitude: Rounding is judged against the larger of this and the data; 1 for logarithms.

    Raises:
        ValueError: The shapes differ or are not one-dimensional.
    """
    first, second = _pairs(a, b)
    n = first.size
    reason = degeneracy(first, second, magnitude)
    difference = first - second
    mean = float(difference.mean()) if n else math.nan
    if reason:
        nan = math.nan
        return PairedT("degenerate", reason, n, mean, nan, nan, nan, n - 1, nan, nan, nan, nan, nan)
    sd = float(difference.std(ddof=1))
    error = sd / math.sqrt(n)
    t = mean / error
    half = float(stdtrit(n - 1, 1 - alpha / 2)) * error
    pooled = math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    return PairedT(
        status="ok",
        reason="",
        n=n,
        estimate=mean,
        ci_low=mean - half,
        ci_high=mean + half,
        t=t,
        df=n - 1,
        p=float(2 * stdtr(n - 1, -abs(t))),
        sd=sd,
        d_z=mean / sd,
        d_av=mean / pooled if pooled > 0 else math.nan,
        g_z=hedges_factor(n - 1) * mean / sd,
    )


def degeneracy(a: FloatArray, b: FloatArray, magnitude: float = 0.0) -> str:
    """Return why two paired samples cannot be tested, or an empty string.

    Args:
        a: Shape (n,).
        b: Shape (n,).
        magnitude: Least magnitude of the data against which rounding is judged.
    """
    bad = np.flatnonzero(~(np.isfinite(a) & np.isfinite(b)))
    if bad.size:
        runs = ", ".join(str(run) for run in bad[:5])
        return f"not a finite number in run {runs} (counted from 0)"
    if a.size < 2:
        return f"{a.size} run: at least 2 are needed"
    difference = a - b
    if not difference.any():
        return IDENTICAL
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()), magnitude)
    rounding = _ROUNDING_ULPS * np.finfo(np.float64).eps * largest
    if difference.std(ddof=1) <= rounding:
        if np.abs(difference).max() <= rounding:
            return "equal to rounding in every run"
        return f"the same difference ({difference.mean():.6g}) in every run: no variance to test"
    return ""


def hedges_factor(df: int) -> float:
    """Return the exact bias correction of a standardised mean difference (Hedges 1981, eq. 6e)."""
    if df < 2:
        return math.nan
    return math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def sign_flip_test(difference: ArrayLike) -> ExactTest:
    """Test a symmetric null exactly: all 2^n sign assignments of the paired differences.

    The sums of both halves of the sample are enumerated and matched by binary search, which counts
    the 2^n assignments in O(2^(n/2)) memory.

    Args:
        difference: Paired differences, shape (n,), n <= 40.
    """
    d = np.asarray(difference, dtype=np.float64)
    nonzero = d[d != 0]
    if not np.isfinite(d).all() or nonzero.size == 0:
        return ExactTest(math.nan, math.nan, "no non-zero finite difference to flip")
    if nonzero.size > MAX_EXACT_SIGN_FLIP:
        return ExactTest(
            math.nan, 2.0 ** (1 - nonzero.size), f"not computed above n = {MAX_EXACT_SIGN_FLIP}"
        )
    half = nonzero.size // 2
    left = _signed_sums(nonzero[:half])
    right = np.sort(_signed_sums(nonzero[half:]))
    threshold = abs(nonzero.sum()) - _TIE_TOLERANCE * np.abs(nonzero).sum()
    if threshold <= 0:
        return ExactTest(1.0, 2.0 ** (1 - nonzero.size), "exact")
    at_least = right.size - np.searchsorted(right, threshold - left, side="left")
    # The null is symmetric: the lower tail holds as many assignments as the upper.
    return ExactTest(
        min(1.0, 2.0 * float(at_least.sum()) / 2.0**nonzero.size),
        2.0 ** (1 - nonzero.size),
        "exact",
    )


def wilcoxon_signed_rank(difference: ArrayLike) -> ExactTest:
    """Wilcoxon's signed-rank test with the exact null distribution, ties included.

    Zero differences are dropped (Wilcoxon 1945); tied magnitudes share their mean rank, and the
    distribution is the one conditional on those ranks.

    Args:
        difference: Paired differences, shape (n,), n <= 200.
    """
    d = np.asarray(difference, dtype=np.float64)
    d = d[d != 0]
    if not np.isfinite(d).all() or d.size == 0:
        return ExactTest(math.nan, math.nan, "no non-zero finite difference to rank")
    if d.size > MAX_EXACT_WILCOXON:
        return ExactTest(
            math.nan, 2.0 ** (1 - d.size), f"not computed above n = {MAX_EXACT_WILCOXON}"
        )
    doubled = _doubled_midranks(np.abs(d))
    null = np.zeros(int(doubled.sum()) + 1)
    null[0] = 1.0
    for rank in doubled:
        null[rank:] += null[:-rank].copy()
        null /= 2
    statistic = int(doubled[d > 0].sum())
    tail = min(null[: statistic + 1].sum(), null[statistic:].sum())
    return ExactTest(min(1.0, 2.0 * float(tail)), 2.0 ** (1 - d.size), "exact")


def _pairs(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first = np.asarray(a, dtype=np.float64)
    second = np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two vectors of equal length, got {first.shape}, {second.shape}")
    return first, second


def _signed_sums(values: FloatArray) -> FloatArray:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _doubled_midranks(magnitudes: FloatArray) -> NDArray[np.int64]:
    """Return twice the mean ranks, which are integers even for ties; shape (n,)."""
    ordered = np.sort(magnitudes)
    first = np.searchsorted(ordered, magnitudes, side="left")
    last = np.searchsorted(ordered, magnitudes, side="right")
    return (first + last + 1).astype(np.int64)
