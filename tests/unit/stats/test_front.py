"""Fronts and hypervolumes against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from seqlab.stats.pareto import hypervolume, non_dominated


def test_the_front_is_what_no_other_point_beats() -> None:
    points = np.random.default_rng(0).integers(0, 6, (40, 2)).astype(float)
    expected = [
        not any((other <= point).all() and (other < point).any() for other in points)
        for point in points
    ]
    assert non_dominated(points).tolist() == expected
    stacked = np.stack([points, points[::-1]])
    assert non_dominated(stacked).tolist() == [expected, expected[::-1]]


def test_equal_points_stay_together_on_the_front() -> None:
    assert non_dominated([[1, 1], [1, 1], [2, 0], [2, 2]]).tolist() == [True, True, True, False]


def test_a_point_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        non_dominated([[1.0, np.nan]])


def test_the_hypervolume_is_the_share_of_a_fine_grid() -> None:
    rng = np.random.default_rng(1)
    points = rng.random((12, 2)) * [1.5, 1.2]
    reference = (1.0, 1.0)
    centres = (np.arange(1000) + 0.5) / 1000
    x, y = np.meshgrid(centres, centres)
    covered = np.zeros_like(x, dtype=bool)
    for a, b in points:
        covered |= (x >= a) & (y >= b)
    assert hypervolume(points, reference) == pytest.approx(covered.mean(), abs=2e-3)


@pytest.mark.parametrize("points", [[], [[2.0, 0.0]], [[0.0, 1.0]]])
def test_points_beyond_the_reference_add_nothing(points: list[list[float]]) -> None:
    assert hypervolume(points, (1.0, 1.0)) == 0.0


def test_a_dominated_point_adds_nothing() -> None:
    assert hypervolume([[0.2, 0.5], [0.3, 0.6]], (1.0, 1.0)) == pytest.approx(0.4)
