"""Welch's test against scipy and pingouin, effect sizes by hand, samples without variance."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from seqlab.stats.anova import permutation_p, two_way
from seqlab.stats.contrast import (
    DEGENERATE,
    EQUIVALENT,
    correct_family,
    independent_contrast,
)
from seqlab.stats.independent import exchange_test, welch


def samples(n: int = 6, m: int = 9, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(shift, 1, n), rng.normal(0, 3, m)


def test_welch_is_scipys() -> None:
    a, b = samples()
    found, theirs = welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found.t == pytest.approx(theirs.statistic)
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.df == pytest.approx(theirs.df)
    interval = theirs.confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))


def test_effect_sizes_are_pingouins() -> None:
    a, b = samples()
    found = welch(a, b)
    # pingouin corrects by an approximation of Hedges' factor.
    theirs = pingouin.compute_effsize(a, b, eftype="hedges")
    assert found.hedges_g == pytest.approx(theirs, rel=2e-3)
    assert found.cliffs_delta == pytest.approx(2 * pingouin.mwu(a, b)["CLES"].iloc[0] - 1)


def test_equivalence_is_both_one_sided_tests() -> None:
    a, b = samples(30, 30, shift=0.1)
    found = welch(a, b)
    below = stats.ttest_ind(a, b - 2.0, equal_var=False, alternative="greater").pvalue
    above = stats.ttest_ind(a, b + 2.0, equal_var=False, alternative="less").pvalue
    assert found.tost_p(-2.0, 2.0) == pytest.approx(max(below, above))
    contrast, _ = independent_contrast(a, b, margin=2.0)
    assert contrast.verdict == EQUIVALENT


def test_a_planted_difference_is_found_and_no_difference_is_not() -> None:
    rng = np.random.default_rng(0)
    none = [
        independent_contrast(rng.normal(size=5), rng.normal(size=5), margin=0.1)[0]
        for _ in range(400)
    ]
    assert np.mean([c.p_raw <= 0.05 for c in none]) == pytest.approx(0.05, abs=0.03)
    planted, _ = independent_contrast(rng.normal(3, 1, 5), rng.normal(0, 1, 5), margin=0.1)
    assert planted.verdict == "higher"


def test_samples_without_variance_have_no_test() -> None:
    same, _ = independent_contrast([1.0, 1.0], [1.0, 1.0, 1.0], margin=0.1)
    assert same.verdict == DEGENERATE and same.reason == "identical in every run"
    assert math.isnan(same.p_raw) and same.estimate == 0
    assert welch([1.0, 1.0], [1.0, 1.0]).hedges_g == 0
    other, _ = independent_contrast([1.0, 1.0], [0.5, 0.5], margin=0.1)
    assert other.verdict == DEGENERATE and other.estimate == 0.5
    one_still = welch([1.0, 1.0, 1.0], [0.5, 0.7, 0.6])
    assert one_still.p == pytest.approx(
        stats.ttest_ind([1.0, 1.0, 1.0], [0.5, 0.7, 0.6], equal_var=False).pvalue
    )


def test_degenerate_pairs_do_not_enlarge_the_family() -> None:
    a, b = samples(shift=4)
    tested, _ = independent_contrast(a, b, margin=0.1)
    still, _ = independent_contrast([1.0, 1.0], [1.0, 1.0], margin=0.1)
    both = correct_family([tested, still])
    assert both[0].p_holm == tested.p_raw and both[1].verdict == DEGENERATE


def test_bad_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        welch([], [1.0])
    with pytest.raises(ValueError, match="margin must be positive"):
        independent_contrast([1.0, 2.0], [1.0, 2.0], margin=0)
    assert welch([1.0, math.nan], [1.0, 2.0]).reason == "not a finite number in every run"
    one, _ = independent_contrast([1.0], [1.0, 2.0], margin=0.1)
    assert one.verdict == DEGENERATE


def crossed(effect: float, interaction: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"a": a, "b": b, "y": effect * a + 5 * b + interaction * a * b + rng.normal()}
        for a in range(4)
        for b in range(3)
        for _ in range(5)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("effect", "interaction"), [(0.8, 0.0), (0.0, 0.9), (0.0, 0.0)])
def test_permutations_find_what_was_planted(effect: float, interaction: float) -> None:
    table = crossed(effect, interaction)
    p = permutation_p(
        table["y"], [*table["a"]], [*table["b"]], rng=np.random.default_rng(1), permutations=2000
    )
    f = two_way(table["y"], [*table["a"]], [*table["b"]], names=("a", "b"), log=False).effects
    assert math.isnan(p[1])
    # Normal data: the permutation agrees with the F distribution.
    for place, normal in ((0, f[0]), (2, f[2])):
        assert abs(p[place] - normal.p) < 0.03
    assert (p[0] < 0.01) == bool(effect or interaction)
    if interaction:
        assert p[2] < 0.01


def test_an_effect_of_the_first_factor_is_no_interaction() -> None:
    found = [
        permutation_p(
            table["y"],
            [*table["a"]],
            [*table["b"]],
            rng=np.random.default_rng(seed),
            permutations=199,
        )[2]
        for seed in range(60)
        for table in [crossed(2.0, 0, seed)]
    ]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_permutation_p_is_uniform_without_an_effect() -> None:
    found = []
    for seed in range(60):
        table = crossed(0, 0, seed)
        p = permutation_p(
            table["y"], [*table["a"]], [*table["b"]],
            rng=np.random.default_rng(seed), permutations=199,
        )  # fmt: skip
        found.append(p[[0, 2]])
    assert stats.kstest(np.ravel(found), "uniform").pvalue > 1e-3


def test_exchange_counts_every_split() -> None:
    rng = np.random.default_rng(5)
    for n, m, shift in ((5, 5, 0.0), (5, 5, 1.5), (3, 6, 1.0)):
        a, b = rng.normal(size=n) + shift, rng.normal(size=m)
        theirs = stats.permutation_test(
            (a, b), lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)), alternative="greater"
        )
        ours = exchange_test(a, b, rng)
        assert ours.p == pytest.approx(theirs.pvalue)
        assert ours.p >= ours.floor
    apart = exchange_test([1, 2, 3, 4, 5], [11, 12, 13, 14, 15], rng)
    assert apart.p == apart.floor == pytest.approx(2 / 252)
    assert exchange_test([1.0, 1.0], [1.0, 1.0], rng).p == 1


def test_exchange_of_many_runs_draws_splits() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=30) + 0.6, rng.normal(size=30)
    found = exchange_test(a, b, rng)
    assert found.floor == pytest.approx(1 / 20_001)
    assert found.p == pytest.approx(stats.ttest_ind(a, b).pvalue, abs=0.01)


def test_blocks_hide_what_they_share() -> None:
    rng = np.random.default_rng(7)
    names, tasks, seeds = (x.ravel() for x in np.meshgrid(range(4), range(2), range(6)))
    # Seeds differ by much more than names do.
    values = 3.0 * rng.normal(size=6)[seeds] + 0.6 * names + 0.3 * rng.normal(size=names.size)
    given = {"permutations": 2000}
    free = permutation_p(values, names, tasks, rng=np.random.default_rng(1), **given)
    blocked = permutation_p(
        values, names, tasks, rng=np.random.default_rng(1), blocks=seeds, **given
    )
    assert blocked[0] < 0.01 < free[0]
    assert np.isnan(blocked[1])
