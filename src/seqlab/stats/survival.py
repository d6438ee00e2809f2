"""Times to an event, of which some runs have none yet: the log-rank test of two samples.

With few runs its chi-square is too large too often. Under "both samples come from one law" all
splits of the runs are alike, so that the test here counts the splits that are as far apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.stats.splits import share_at_least, splits

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LogRank:
    """A two-sided log-rank test by exchange.

    Attributes:
        statistic: (O - E) / sqrt(V) of the first sample; positive where its events come sooner.
        p: Share of splits whose |statistic| is at least that large.
        floor: Smallest p that these runs could have reached; above alpha the test decides nothing.
        splits: Splits counted.
    """

    statistic: float
    p: float
    floor: float
    splits: int


def log_rank(
    first: ArrayLike,
    second: ArrayLike,
    first_seen: ArrayLike,
    second_seen: ArrayLike,
    *,
    rng: np.random.Generator,
) -> LogRank:
    """Test whether the events of two samples come equally soon.

    Args:
        first: (n,) times of the events, or of the end of watching.
        second: (m,) the same of the other sample.
        first_seen: (n,) whether the event was seen; False is censored.
        second_seen: (m,) the same of the other sample.
        rng: Source of the splits where there are too many to count.

    Raises:
        ValueError: A sample is empty, or no event was seen at which both samples were watched.
    """
    times = np.concatenate([np.asarray(x, dtype=np.float64) for x in (first, second)])
    seen = np.concatenate([np.asarray(x, dtype=bool) for x in (first_seen, second_seen)])
    n, m = len(np.asarray(first)), len(np.asarray(second))
    if not (n and m):
        raise ValueError("a log-rank test needs two samples")
    observed = np.arange(n + m)[None] < n
    own = float(_statistics(times, seen, observed)[0])
    if not np.isfinite(own):
        raise ValueError("no event tells the samples apart")
    groups, complete = splits(n + m, n, rng)
    sizes = np.abs(_statistics(times, seen, groups))
    slack = 1e-9 * abs(own)
    p = share_at_least(sizes, abs(own), complete, slack)
    floor = share_at_least(sizes, float(np.nanmax(sizes)), complete, slack)
    return LogRank(own, p, floor if complete else 1 / (len(groups) + 1), len(groups))


def _statistics(
    times: FloatArray, seen: NDArray[np.bool_], groups: NDArray[np.bool_]
) -> FloatArray:
    """Return the log-rank statistic of each group (S, N) against the rest of the runs."""
    at = np.unique(times[seen])
    watched = (times >= at[:, None]).astype(np.float64)
    events = ((times == at[:, None]) & seen).astype(np.float64)
    at_risk, happened = watched.sum(1), events.sum(1)
    own_risk, own_events = (groups.astype(np.float64) @ x.T for x in (watched, events))
    share = own_risk / at_risk
    # Hypergeometric; with one run left there is nothing to vary.
    left = np.where(at_risk > 1, (at_risk - happened) / np.maximum(at_risk - 1, 1), 0.0)
    variance = (happened * share * (1 - share) * left).sum(1)
    excess = (own_events - happened * share).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 0, excess / np.sqrt(variance), np.nan)
