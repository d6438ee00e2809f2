"""Corrections, power and analysis of variance against statsmodels and pingouin."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from seqlab.stats.anova import two_way
from seqlab.stats.multiplicity import adjust
from seqlab.stats.power import paired_t_power, runs_needed

NAMES = {"holm": "holm", "bh": "fdr_bh", "bonferroni": "bonferroni"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from(sorted(NAMES)))
def test_adjust_agrees_with_statsmodels(p, method):
    assert adjust(p, method) == pytest.approx(multipletests(p, method=NAMES[method])[1], abs=1e-12)


def test_adjust_keeps_nan_out_of_the_family():
    adjusted = adjust([0.01, math.nan, 0.04], "holm")
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])
    assert adjust([], "bh").shape == (0,)


@pytest.mark.parametrize("bad", [[-0.1], [1.1]])
def test_adjust_refuses_values_that_are_not_probabilities(bad):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        adjust(bad)


def test_power_agrees_with_statsmodels():
    for effect, sd, n in [(0.05, 0.03, 6), (0.01, 0.02, 10), (-0.1, 0.02, 12), (0.1, 0.005, 20)]:
        theirs = TTestPower().power(abs(math.log1p(effect)) / sd, n, 0.05)
        assert float(paired_t_power(effect, sd, n)) == pytest.approx(theirs, abs=1e-9)
    assert paired_t_power(np.array([0.01, 0.05]), 0.03, 8).shape == (2,)


@pytest.mark.parametrize(("effect", "sd"), [(0.05, 0.03), (0.05, 0.2), (0.3, 0.01)])
def test_runs_needed_is_the_smallest(effect, sd):
    n = runs_needed(effect, sd, power=0.8)
    assert float(paired_t_power(effect, sd, n)) >= 0.8
    assert n == 2 or float(paired_t_power(effect, sd, n - 1)) < 0.8


def test_power_refuses():
    with pytest.raises(ValueError, match="sd > 0"):
        paired_t_power(0.05, 0.0, 5)
    with pytest.raises(ValueError, match="more than"):
        runs_needed(0.001, 1.0, limit=100)
    with pytest.raises(ValueError, match="non-zero"):
        runs_needed(0.0, 1.0)


def crossed(balanced: bool) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    rows = [
        (arm, model, math.exp(0.1 * i + 0.3 * j + 0.05 * i * j + rng.normal(0, 0.1)))
        for i, arm in enumerate(["dense", "linear", "iterative"])
        for j, model in enumerate(["mamba", "bert"])
        for _ in range(4 if balanced else 3 + (i + j) % 3)
    ]
    return pd.DataFrame(rows, columns=["arm", "model", "ms"])


@pytest.mark.parametrize("balanced", [True, False])
def test_anova_agrees_with_pingouin_type_two(balanced):
    import pingouin

    frame = crossed(balanced)
    ours = two_way(frame.ms, list(frame.arm), list(frame.model), names=("arm", "model"))
    frame["log_ms"] = np.log(frame.ms)
    theirs = pingouin.anova(frame, dv="log_ms", between=["arm", "model"], ss_type=2, detailed=True)
    for effect, (_, row) in zip(ours.effects, theirs.iterrows(), strict=False):
        assert effect.sum_sq == pytest.approx(row["SS"], rel=1e-9)
        assert effect.df == row["DF"]
        assert effect.f == pytest.approx(row["F"], rel=1e-9)
        assert effect.eta_sq_partial == pytest.approx(row["np2"], rel=1e-9)
        p = row["p_unc"] if "p_unc" in row else row["p-unc"]
        assert effect.p == pytest.approx(p, rel=1e-6)
    assert ours.effects[2].name == "arm x model"


def test_anova_refuses_what_it_cannot_test():
    names = ("a", "b")
    with pytest.raises(ValueError, match="two levels"):
        two_way([1.0, 2.0], ["x", "x"], ["u", "v"], names=names)
    with pytest.raises(ValueError, match="combination"):
        two_way([1.0, 2.0, 3.0, 4.0], ["x", "x", "y", "y"], ["u", "v", "u", "v"], names=names)
    with pytest.raises(ValueError, match="positive"):
        two_way([0.0] * 8, ["x", "y"] * 4, ["u", "u", "v", "v"] * 2, names=names)
    with pytest.raises(ValueError, match="no residual variance"):
        two_way([1.0] * 8, ["x", "y"] * 4, ["u", "u", "v", "v"] * 2, names=names)
