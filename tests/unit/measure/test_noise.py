"""The noise floor of an A/A pair."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seqlab.measure.noise import noise_floor


def test_identical_arms_have_no_noise() -> None:
    floor = noise_floor([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert floor.limit == 0.0
    assert floor.runs == 3


def test_the_limit_is_the_t_prediction_limit() -> None:
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.normal(0, 0.02, 10)), np.exp(rng.normal(0, 0.02, 10))
    ratio = np.log(a / b)
    expected = abs(ratio.mean()) + stats.t.ppf(0.975, 9) * ratio.std(ddof=1) * np.sqrt(1.1)
    floor = noise_floor(a, b)
    assert floor.limit == pytest.approx(expected, rel=1e-9)
    assert floor.percent == pytest.approx((np.exp(expected) - 1) * 100)


def test_the_limit_does_not_depend_on_which_arm_comes_first_nor_on_the_unit() -> None:
    a, b = np.array([1.0, 1.1, 0.9]), np.array([1.05, 1.0, 0.92])
    assert noise_floor(a, b).limit == pytest.approx(noise_floor(b, a).limit)
    assert noise_floor(a * 1e9, b * 1e9).limit == pytest.approx(noise_floor(a, b).limit)
    assert noise_floor(a, b).bias == pytest.approx(-noise_floor(b, a).bias)


def test_a_further_run_stays_within_the_limit_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(2000):
        ratio = rng.normal(0, 0.03, 6)
        floor = noise_floor(np.exp(ratio[:5]), np.ones(5))
        inside.append(abs(ratio[5]) <= floor.limit)
    assert 0.94 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0], [1.0], "at least 2 runs"),
        ([1.0, 2.0], [1.0], "equally long"),
        ([1.0, 0.0], [1.0, 1.0], "positive"),
        ([1.0, float("nan")], [1.0, 1.0], "positive"),
    ],
)
def test_unusable_pairs_are_refused(first: list, second: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise_floor(first, second)
