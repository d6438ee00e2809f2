"""The log-rank test against scipy's statistic and a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seqlab.stats.survival import log_rank


def test_the_statistic_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        # With ties, as evaluations come every so many steps.
        first, second = rng.integers(1, 12, 6), rng.integers(3, 15, 5)
        seen, also = rng.random(6) < 0.8, rng.random(5) < 0.6
        if not seen.any():
            continue
        ours = log_rank(first, second, seen, also, rng=rng)
        theirs = stats.logrank(
            stats.CensoredData(uncensored=first[seen], right=first[~seen]),
            stats.CensoredData(uncensored=second[also], right=second[~also]),
        )
        assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9)
        assert ours.splits == 462


def test_complete_separation_reaches_the_floor_and_no_further() -> None:
    found = log_rank(
        [1, 2, 3, 4, 5], [9] * 5, [True] * 5, [False] * 5, rng=np.random.default_rng(0)
    )
    # The opposite split is as far apart, and no other one.
    assert found.p == found.floor == pytest.approx(2 / 252)


def test_the_level_is_held_with_few_runs() -> None:
    rng = np.random.default_rng(1)
    hits = [
        log_rank(*rng.integers(1, 10, (2, 5)), *(rng.random((2, 5)) < 0.9), rng=rng).p <= 0.05
        for _ in range(400)
    ]
    assert np.mean(hits) < 0.075


def test_many_runs_are_split_at_random() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.exponential(1, 20), rng.exponential(3, 20)
    found = log_rank(first, second, np.ones(20, bool), np.ones(20, bool), rng=rng)
    asymptotic = stats.logrank(first, second).pvalue
    assert found.splits == 20_000 and found.floor == pytest.approx(1 / 20_001)
    assert found.p == pytest.approx(asymptotic, abs=0.01)


def test_without_events_there_is_no_test() -> None:
    with pytest.raises(ValueError, match="no event"):
        log_rank([5, 5], [5, 5], [False] * 2, [False] * 2, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="no event"):
        log_rank([5, 5], [5, 5], [True] * 2, [True] * 2, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="two samples"):
        log_rank([], [5], [], [True], rng=np.random.default_rng(0))
