"""Power of the two-sided paired t test for a relative effect, by the noncentral t distribution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtr, stdtrit


def paired_t_power(
    effect: ArrayLike, sd: float, n: ArrayLike, alpha: float = 0.05
) -> NDArray[np.float64]:
    """Return the probability that the paired t test rejects.

    Args:
        effect: Relative effect of the treatment (0.05 = 5 % slower), broadcast against `n`.
        sd: Standard deviation between runs of the log ratio.
        n: Number of runs, at least 2.
        alpha: Two-sided level.

    Raises:
        ValueError: `sd` is not positive, an effect is at or below -1, or fewer than 2 runs.
    """
    runs = np.asarray(n, dtype=np.float64)
    relative = np.asarray(effect, dtype=np.float64)
    if not sd > 0 or (relative <= -1).any() or (runs < 2).any():
        raise ValueError("power needs sd > 0, effects above -100 % and at least 2 runs")
    noncentrality = np.abs(np.log1p(relative)) / sd * np.sqrt(runs)
    critical = stdtrit(runs - 1, 1 - alpha / 2)
    below = nctdtr(runs - 1, noncentrality, critical)
    lower = nctdtr(runs - 1, noncentrality, -critical)
    # scipy gives NaN in the narrow band where these probabilities underflow (below 1e-130).
    return np.asarray(1 - np.nan_to_num(below, nan=0.0) + np.nan_to_num(lower, nan=0.0))


def runs_needed(
    effect: float, sd: float, power: float = 0.8, alpha: float = 0.05, limit: int = 100_000
) -> int:
    """Return the smallest number of runs that reaches a power.

    Args:
        effect: Relative effect (0.05 = 5 %), not zero.
        sd: Standard deviation between runs of the log ratio.
        power: Target, in (0, 1).
        alpha: Two-sided level.
        limit: Largest number of runs considered.

    Raises:
        ValueError: The target is not reached at `limit`.
    """
    if effect == 0 or not 0 < power < 1:
        raise ValueError("a number of runs needs a non-zero effect and a power in (0, 1)")
    low, high = 1, 2
    while float(paired_t_power(effect, sd, high, alpha)) < power:
        low, high = high, 2 * high
        if high > limit:
            raise ValueError(f"power {power} for effect {effect} needs more than {limit} runs")
    while high - low > 1:
        middle = math.ceil((low + high) / 2)
        if float(paired_t_power(effect, sd, middle, alpha)) < power:
            low = middle
        else:
            high = middle
    return high
