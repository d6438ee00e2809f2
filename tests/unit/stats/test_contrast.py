"""Verdicts of a contrast: precedence, noise, families, degenerate pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from seqlab.errors import UserError
from seqlab.stats.contrast import CONTRAST_COLUMNS, FASTER_SLOWER, correct_family, paired_contrast
from seqlab.stats.equivalence import relative_bounds, tost

COLUMNS = [
    *("n", "estimate", "ci_low", "ci_high", "ratio", "ratio_low", "ratio_high", "test"),
    *("statistic", "p_raw", "p_holm", "p_bh", "p_bonferroni", "d_z", "d_av", "p_signflip"),
    *("signflip_floor", "p_wilcoxon", "wilcoxon_floor", "tost_margin", "tost_p", "noise_limit"),
    *("verdict", "reason"),
]


def arms(effect: float, noise: float, n: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    control = np.exp(rng.normal(3, 0.1, n))
    wiggle = rng.normal(0, 1, n)
    wiggle = (wiggle - wiggle.mean()) / wiggle.std(ddof=1)
    return control * np.exp(math.log1p(effect) + noise * wiggle), control


def latency(effect, noise, **options):
    options = {"margin": 0.02, "labels": FASTER_SLOWER, **options}
    return paired_contrast(*arms(effect, noise), scale="log_ratio", **options)


@pytest.mark.parametrize(
    ("effect", "noise", "noise_limit", "verdict", "words"),
    [
        (-0.10, 0.01, None, "faster", "significant"),
        (0.10, 0.01, 0.01, "slower", "significant"),
        (0.0, 0.005, 0.01, "equivalent", "no significant"),
        (0.01, 0.003, 0.01, "equivalent", "; significant"),
        (0.0, 0.005, 0.03, "inconclusive", "noise"),
        (0.025, 0.005, 0.03, "inconclusive", "identical arms"),
        (0.10, 0.01, 0.03, "slower", "significant"),
        (0.0, 0.10, None, "inconclusive", "not within the margin"),
        (0.0, 0.10, 0.05, "inconclusive", "noise"),
    ],
)
def test_precedence(effect, noise, noise_limit, verdict, words):
    contrast = latency(effect, noise, noise_limit=noise_limit)
    assert contrast.verdict == verdict
    assert words in contrast.reason


def test_equivalence_needs_the_interval_inside_not_only_tost():
    # n = 10: the 90 % interval is inside 2 %, the 95 % interval is not.
    contrast = latency(0.0, 0.0295)
    assert contrast.tost_p < 0.05
    assert contrast.ratio_high > 1.02
    assert contrast.verdict == "inconclusive"


def test_log_ratio_reports_the_ratio_of_geometric_means():
    treatment, control = arms(0.07, 0.02)
    contrast = paired_contrast(treatment, control, scale="log_ratio", margin=0.02)
    assert contrast.ratio == pytest.approx(
        np.exp(np.log(treatment).mean() - np.log(control).mean())
    )
    assert contrast.ratio_low < contrast.ratio < contrast.ratio_high
    assert contrast.verdict == "higher"
    swapped = paired_contrast(control, treatment, scale="log_ratio", margin=0.02)
    assert swapped.ratio == pytest.approx(1 / contrast.ratio)
    assert swapped.p_raw == pytest.approx(contrast.p_raw)
    assert swapped.verdict == "lower"


def test_difference_scale_has_no_ratio():
    contrast = paired_contrast([3.0, 1.0, 2.5], [1.0, 1.5, 0.0], margin=0.5)
    assert math.isnan(contrast.ratio)
    assert contrast.estimate == pytest.approx(4.0 / 3)


def test_identical_pairs_are_degenerate_and_say_so():
    contrast = paired_contrast([1.0, 2.0, 4.0], [1.0, 2.0, 4.0], scale="log_ratio", margin=0.02)
    assert (contrast.verdict, contrast.reason) == ("degenerate", "identical in every run")
    assert contrast.estimate == 0
    assert math.isnan(contrast.p_raw)


def test_a_constant_ratio_is_degenerate_not_significant():
    control = np.array([1.1, 0.9, 1.0, 1.2])
    contrast = paired_contrast(control * 1.5, control, scale="log_ratio", margin=0.02)
    assert contrast.verdict == "degenerate"
    assert "no variance" in contrast.reason
    assert contrast.ratio == pytest.approx(1.5)


def test_missing_run_is_degenerate():
    contrast = paired_contrast([1.0, math.nan, 2.0], [1.0, 1.0, 1.0], margin=0.1)
    assert contrast.verdict == "degenerate"
    assert "run 1" in contrast.reason


def test_family_correction_recomputes_verdicts():
    weak = latency(0.03, 0.037)
    assert weak.verdict == "slower"
    family = correct_family([weak] * 5)
    assert {c.verdict for c in family} == {"inconclusive"}
    assert family[0].p_holm == pytest.approx(5 * weak.p_raw)
    assert family[0].p_corrected == family[0].p_holm
    assert "(holm)" in family[0].reason
    by_bh = correct_family([weak] * 5, method="bh")
    assert by_bh[0].p_corrected == pytest.approx(weak.p_raw)
    assert by_bh[0].verdict == "slower"


def test_a_degenerate_member_does_not_enlarge_the_family():
    same = paired_contrast([1.0, 2.0], [1.0, 2.0], margin=0.1)
    family = correct_family([latency(0.1, 0.01), same])
    assert family[0].p_holm == family[0].p_raw
    assert math.isnan(family[1].p_holm)
    assert family[1].verdict == "degenerate"


def test_row_has_exactly_the_columns_of_the_statistics_table():
    row = latency(0.1, 0.01).row()
    assert list(row) == COLUMNS
    assert math.isnan(row["noise_limit"])
    assert row["tost_margin"] == 0.02


def test_refusals():
    with pytest.raises(UserError, match="no logarithm"):
        paired_contrast([1.0, 0.0], [1.0, 1.0], scale="log_ratio", margin=0.1)
    with pytest.raises(ValueError, match="margin"):
        paired_contrast([1.0, 2.0], [1.0, 1.0], margin=0.0)
    with pytest.raises(ValueError, match="noise"):
        paired_contrast([1.0, 2.0], [1.0, 1.0], margin=1.0, noise_limit=-1.0)


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.05])
def test_tost_agrees_with_statsmodels(shift):
    treatment, control = (np.log(arm) for arm in arms(shift, 0.02))
    low, high = relative_bounds(0.02)
    theirs = ttost_paired(treatment, control, low, high)
    ours = tost(treatment - control, low, high)
    assert ours.p == pytest.approx(theirs[0], rel=1e-9)
    assert ours.p_lower == pytest.approx(theirs[1][1], rel=1e-9)
    assert ours.p_upper == pytest.approx(theirs[2][1], rel=1e-9)


def test_tost_undefined_and_bounds():
    assert math.isnan(tost([0.1, 0.1], -1, 1).p)
    assert relative_bounds(0.02)[0] == -relative_bounds(0.02)[1]
    with pytest.raises(ValueError, match="ordered"):
        tost([0.0, 1.0], 1, -1)
    with pytest.raises(ValueError, match="positive"):
        relative_bounds(0)


def test_the_columns_are_those_of_a_row() -> None:
    contrast = paired_contrast([1.0, 2.1, 2.9], [1.1, 2.0, 3.1], margin=0.5)
    assert tuple(contrast.row()) == CONTRAST_COLUMNS
