"""The noise floor: how far two identical arms come out apart, from an A/A pair in every run.

Input: the medians of two arms that run the same code, one pair per run. Output: the 95 % limit of
their |log ratio|, on which margins of equivalence and the grey band of latency figures stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class NoiseFloor:
    """Spread of an A/A pair over runs, in natural-log units (0.02 is about 2 %).

    Attributes:
        limit: A further run's |log ratio| stays below this with 95 % confidence.
        mean_limit: The mean log ratio over these runs, |bias|, plus the half-width of its 95 %
            interval: what a mean over as many runs can show without any effect.
        bias: Mean log ratio; away from 0 where one of two identical arms is favoured.
        sd: Standard deviation of the log ratio over runs.
        runs: Number of runs.
    """

    limit: float
    mean_limit: float
    bias: float
    sd: float
    runs: int

    @property
    def percent(self) -> float:
        """The limit as a percentage of the latency."""
        return float(np.expm1(self.limit)) * 100


def noise_floor(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
) -> NoiseFloor:
    """Estimate the noise floor from the two arms of an A/A pair.

    The limit is |bias| + t * sd * sqrt(1 + 1/n), the two-sided prediction limit of one further run
    with t the quantile of Student's distribution with n - 1 degrees of freedom (Hahn and Meeker,
    Statistical Intervals). With few runs t is large, so their floor is wide, never narrow.

    Args:
        first: (n,) medians of the first arm, one per run, in any unit.
        second: (n,) medians of the second arm in the same unit, paired by run.
        confidence: Two-sided confidence of the limit.

    Raises:
        ValueError: Fewer than two runs, unequal lengths, or a duration that is not positive.
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"an A/A pair needs two equally long lists, got {one.shape}, {two.shape}")
    runs = len(one)
    if runs < 2:
        raise ValueError(f"a noise floor needs at least 2 runs, got {runs}")
    if not (np.all(one > 0) and np.all(two > 0)):
        raise ValueError("durations must be positive")
    log_ratio = np.log(one / two)
    bias, sd = float(np.mean(log_ratio)), float(np.std(log_ratio, ddof=1))
    quantile = float(special.stdtrit(runs - 1, (1 + confidence) / 2))
    limit = abs(bias) + quantile * sd * np.sqrt(1 + 1 / runs)
    mean_limit = abs(bias) + quantile * sd / np.sqrt(runs)
    return NoiseFloor(float(limit), float(mean_limit), bias=bias, sd=sd, runs=runs)
