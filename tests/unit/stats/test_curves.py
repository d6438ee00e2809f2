"""Hinges and power laws are found where they were planted; oracles are scipy and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from seqlab.stats.curves import curve_interval, fit_hinge, fit_power

X = np.log2([64.0, 128, 256, 512, 1024, 1536, 2048, 2560])


def test_a_planted_hinge_is_found() -> None:
    found = fit_hinge(X, 1.5 + 4.0 * np.maximum(0, X - 9.0))
    assert found.place == pytest.approx(9.0, abs=0.03)
    assert found.level == pytest.approx(1.5, abs=0.05)
    assert found.slope == pytest.approx(4.0, abs=0.1)


def test_a_hinge_is_the_least_squares_one() -> None:
    y = np.random.default_rng(0).normal(size=8)
    found = fit_hinge(X, y)

    def residual(place: float) -> float:
        design = np.stack([np.ones(8), np.maximum(0, X - place)], 1)
        coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
        return float(((design @ coefficients - y) ** 2).sum())

    best = min(residual(place) for place in np.linspace(X[0], X[-2], 500))
    assert residual(float(found.place)) <= best * 1.01 + 1e-12


def test_many_curves_are_fitted_as_one_by_one() -> None:
    y = np.random.default_rng(1).normal(size=(3, 2, 8))
    together, power = fit_hinge(X, y), fit_power(2**X, y)
    for index in np.ndindex(3, 2):
        alone = fit_hinge(X, y[index])
        assert together.place[index] == alone.place
        assert together.slope[index] == pytest.approx(alone.slope)
        assert power[0][index] == fit_power(2**X, y[index])[0]


def test_a_power_law_equals_scipys() -> None:
    x = 2**X
    y = 0.3 * x**0.6 + np.random.default_rng(2).normal(size=8)
    exponent, scale = fit_power(x, y)
    wanted, _ = curve_fit(lambda x, c, a: c * x**a, x, y, p0=(0.3, 0.6))
    assert exponent == pytest.approx(wanted[1], abs=0.01)
    middle = np.exp(np.log(x).mean())
    assert scale == pytest.approx(wanted[0] * middle ** wanted[1], rel=0.01)
    assert fit_power(x, -y)[1] == pytest.approx(-scale)


def test_intervals_of_few_runs_cover_what_was_planted() -> None:
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        curves = 2.0 * np.maximum(0, X - 9.0) + 0.2 * rng.normal(size=(6, 8))
        found = curve_interval(curves, lambda y: fit_hinge(X, y).place, rng=rng, resamples=200)
        covered += found.low <= 9.0 <= found.high
        assert found.estimate == fit_hinge(X, curves.mean(0)).place
        assert found.high - found.low < 1.0
    assert covered >= 34


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="2 runs"):
        curve_interval(
            np.ones((1, 8)), lambda y: y.mean(-1), rng=np.random.default_rng(0), resamples=10
        )
    with pytest.raises(ValueError, match="4 levels"):
        fit_hinge([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
