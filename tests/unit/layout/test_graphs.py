"""Normalising, pruning, averaging and comparing affinities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.layout.graphs import (
    default_nonzero_cap,
    mean_affinity,
    normalised,
    relative_change,
    split_half_reliability,
    strongest,
)


def _weights(seed, size=9):
    weights = np.random.default_rng(seed).random((size, size))
    weights = np.triu(weights, 1)
    return weights + weights.T


def test_normalisations():
    weights = _weights(0)
    weights[3] = weights[:, 3] = 0
    degree = weights.sum(axis=1)
    degree[3] = 1
    np.testing.assert_allclose(normalised(weights, "row"), np.diag(1 / degree) @ weights)
    root = np.diag(degree**-0.5)
    np.testing.assert_allclose(normalised(weights, "sym"), root @ weights @ root)
    assert (normalised(weights, "sym") == normalised(weights, "sym").T).all()
    assert (normalised(weights, "none") == weights).all()
    with pytest.raises(UserError, match="'l2'"):
        normalised(weights, "l2")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 80))
def test_pruning_keeps_symmetry_strong_weights_and_about_the_cap(seed, cap):
    weights = _weights(seed)
    kept = strongest(weights, cap).toarray()
    assert (kept == kept.T).all()
    assert ((kept == weights) | (kept == 0)).all()
    quota = round(8 * min(1, cap / 72))
    assert quota * 9 <= np.count_nonzero(kept) <= 2 * quota * 9
    for row, original in zip(kept, weights, strict=True):
        top = np.sort(original)[::-1][:quota]
        assert np.isin(top, row).all()


def test_caps():
    assert default_nonzero_cap(1000) == 50_000
    assert default_nonzero_cap(100_000) == 50_000_000
    with pytest.raises(UserError, match="below one"):
        strongest(_weights(0), 0)


def test_mean_and_relative_change():
    first, second = _weights(1), _weights(2)
    np.testing.assert_allclose(mean_affinity([first, second]), (first + second) / 2)
    assert relative_change(first, first) == 0
    np.testing.assert_allclose(relative_change(first, 3 * first), 2)
    zero = np.zeros((9, 9))
    assert relative_change(zero, zero) == 0
    assert relative_change(zero, first) == np.inf
    with pytest.raises(UserError, match="no affinities"):
        mean_affinity([])
    with pytest.raises(UserError, match="different shapes"):
        mean_affinity([first, np.zeros((2, 2))])
    with pytest.raises(UserError, match="shapes"):
        relative_change(first, np.zeros((2, 2)))


def test_reliability_separates_structure_from_noise():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 12))
    structured = noise + 2 * np.repeat(rng.normal(size=(400, 4)), 3, axis=1)
    low = split_half_reliability(noise, np.random.default_rng(1))
    high = split_half_reliability(structured, np.random.default_rng(1))
    assert abs(low.correlation) < 0.3
    assert high.correlation > 0.95
    assert high.full_length > high.correlation
    assert high.relative_change < 0.3 < low.relative_change


def test_reliability_keeps_groups_whole():
    rng = np.random.default_rng(0)
    # Each sequence repeats one sample: split by rows, both halves would hold the same samples.
    sequences = np.repeat(rng.normal(size=(20, 8)), 30, axis=0)
    groups = np.repeat(np.arange(20), 30)
    by_rows = split_half_reliability(sequences, np.random.default_rng(3))
    by_groups = split_half_reliability(sequences, np.random.default_rng(3), groups=groups)
    assert by_rows.correlation > 0.8
    assert by_groups.correlation < 0.6


@pytest.mark.parametrize(("shape", "message"), [((3, 5), "3 samples"), ((9, 2), "3 channels")])
def test_reliability_needs_enough(shape, message):
    with pytest.raises(UserError, match=message):
        split_half_reliability(np.zeros(shape), np.random.default_rng(0))
