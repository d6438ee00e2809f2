"""Robust two-way tests against Wald tests of the textbook, and on data of unequal variance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seqlab.stats.anova import two_way
from seqlab.stats.robust import two_way_robust_p

RUNS = 5


def crossed(seed: int, spread: dict[str, float], effect: float = 0.0):
    rng = np.random.default_rng(seed)
    first = np.repeat(["a", "b", "c"], 2 * RUNS)
    second = np.tile(np.repeat(["x", "y"], RUNS), 3)
    noise = np.array([spread[name] for name in first]) * rng.standard_normal(first.size)
    return noise + effect * ((first == "c") & (second == "y")), first, second


def test_interaction_is_the_wald_test_of_hc3() -> None:
    values, first, second = crossed(0, {"a": 1.0, "b": 0.1, "c": 3.0}, effect=2.0)
    # Of a cell of n runs the mean has HC3 variance sum e^2 / (n - 1)^2.
    cells = [(one, two) for one in "abc" for two in "xy"]
    parts = {cell: values[(first == cell[0]) & (second == cell[1])] for cell in cells}
    means = np.array([parts[cell].mean() for cell in cells])
    variances = np.array([((v - v.mean()) ** 2).sum() / (RUNS - 1) ** 2 for v in parts.values()])
    contrasts = np.array([[1, -1, -1, 1, 0, 0], [1, -1, 0, 0, -1, 1]], dtype=float)
    at = contrasts @ means
    wald = at @ np.linalg.solve(contrasts @ np.diag(variances) @ contrasts.T, at) / 2
    expected = stats.f.sf(wald, 2, values.size - 6)
    assert two_way_robust_p(values, first, second)[2] == pytest.approx(expected, rel=1e-6)


def test_pooled_variance_hides_what_is_seen_where_runs_agree() -> None:
    # The effect is in the quietest level of the first factor; the loudest one inflates the pool.
    values, first, second = crossed(1, {"a": 0.02, "b": 5.0, "c": 0.02}, effect=1.0)
    pooled = two_way(values, first, second, names=("first", "second"), log=False).effects[2].p
    assert two_way_robust_p(values, first, second)[2] < 0.001 < 0.2 < pooled


def test_cells_without_variance_have_no_robust_p() -> None:
    values, first, second = crossed(2, {"a": 0.0, "b": 0.0, "c": 1.0}, effect=1.0)
    assert np.isnan(two_way_robust_p(values, first, second)).all()
