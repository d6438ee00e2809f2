"""Paired tests against scipy and pingouin, and their limits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from seqlab.stats.paired import (
    IDENTICAL,
    hedges_factor,
    paired_t,
    sign_flip_test,
    wilcoxon_signed_rank,
)


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    control = rng.normal(10, 1, 9)
    return control + rng.normal(0.4, 0.5, 9), control


def test_paired_t_agrees_with_scipy(pairs):
    ours = paired_t(*pairs, alpha=0.1)
    theirs = scipy_stats.ttest_rel(*pairs)
    interval = theirs.confidence_interval(0.9)
    assert ours.status == "ok"
    assert ours.t == pytest.approx(theirs.statistic, rel=1e-12)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert (ours.ci_low, ours.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_effect_sizes_agree_with_pingouin(pairs):
    import pingouin

    ours = paired_t(*pairs)
    assert ours.d_av == pytest.approx(
        pingouin.compute_effsize(*pairs, paired=True, eftype="cohen"), rel=1e-12
    )
    assert ours.d_z == pytest.approx(ours.t / math.sqrt(9), rel=1e-12)
    assert ours.g_z == pytest.approx(ours.d_z * (1 - 3 / (4 * 8 - 1)), rel=1e-3)
    assert math.isnan(hedges_factor(1))


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], IDENTICAL),
        ([1.3, 2.3, 3.3], [1.0, 2.0, 3.0], "no variance"),
        ([1.0, 2.0, 3.0 + 4e-16], [1.0, 2.0, 3.0], "rounding"),
        ([1.0, math.nan, 3.0], [1.0, 2.0, 3.0], "run 1"),
        ([1.0, 2.0], [1.0, math.inf], "run 1"),
        ([1.0], [2.0], "at least 2"),
        ([], [], "at least 2"),
    ],
)
def test_no_variance_is_degenerate_and_never_significant(a, b, reason):
    result = paired_t(a, b)
    assert result.status == "degenerate"
    assert reason in result.reason
    assert all(math.isnan(v) for v in (result.p, result.t, result.ci_low, result.d_z))


def test_shapes_must_match():
    with pytest.raises(ValueError, match="equal length"):
        paired_t([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("n", "floor"), [(5, 0.0625), (6, 0.03125), (10, 0.001953125)])
def test_exact_floors(n, floor):
    separated = np.arange(1.0, n + 1)
    for test in (sign_flip_test(separated), wilcoxon_signed_rank(separated)):
        assert test.floor == floor
        assert test.p == floor
        assert test.method == "exact"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=2, max_size=9))
def test_sign_flip_equals_brute_force(values):
    d = np.array(values, dtype=float)
    test = sign_flip_test(d)
    if not d.any():
        assert math.isnan(test.p)
        return
    sums = [abs(np.dot(s, d)) for s in itertools.product((1, -1), repeat=d.size)]
    assert test.p == pytest.approx(np.mean(np.array(sums) >= abs(d.sum()) - 1e-9))
    assert test.p >= test.floor


def test_sign_flip_agrees_with_scipy_permutation_test():
    d = np.random.default_rng(0).normal(0.4, 1, 11)
    theirs = scipy_stats.permutation_test(
        (d,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert sign_flip_test(d).p == pytest.approx(theirs.pvalue, rel=1e-12)


def test_sign_flip_is_exact_at_thirty_runs_and_refuses_beyond_forty():
    d = np.random.default_rng(1).normal(0.5, 1, 30)
    exact = sign_flip_test(d)
    flips = np.random.default_rng(2).choice([-1.0, 1.0], (40_000, 30))
    sampled = np.mean(np.abs(flips @ d) >= abs(d.sum()))
    assert exact.p == pytest.approx(sampled, abs=4 * math.sqrt(sampled / 40_000))
    beyond = sign_flip_test(np.arange(1.0, 42.0))
    assert math.isnan(beyond.p)
    assert "not computed" in beyond.method


@pytest.mark.parametrize("n", [5, 8, 14, 25])
def test_wilcoxon_agrees_with_scipy_exact(n):
    d = np.random.default_rng(n).normal(0.3, 1, n)
    theirs = scipy_stats.wilcoxon(d, method="exact")
    assert wilcoxon_signed_rank(d).p == pytest.approx(theirs.pvalue, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_wilcoxon_with_ties_equals_brute_force(values):
    d = np.array([v for v in values if v], dtype=float)
    test = wilcoxon_signed_rank(np.array(values, dtype=float))
    if d.size == 0:
        assert math.isnan(test.p)
        return
    ranks = scipy_stats.rankdata(np.abs(d))
    null = np.array(
        [ranks[np.array(s) > 0].sum() for s in itertools.product((1, -1), repeat=d.size)]
    )
    observed = ranks[d > 0].sum()
    expected = 2 * min(np.mean(null <= observed + 1e-9), np.mean(null >= observed - 1e-9))
    assert test.p == pytest.approx(min(1.0, expected))


def test_wilcoxon_refuses_beyond_its_limit():
    assert "not computed" in wilcoxon_signed_rank(np.arange(1.0, 202.0)).method
