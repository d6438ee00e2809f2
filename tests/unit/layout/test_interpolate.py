"""Layouts between two given ones."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from seqlab.errors import UserError
from seqlab.layout.interpolate import spread_layouts, swapped, towards
from seqlab.layout.objective import q_frac
from seqlab.layout.permutation import Permutation


def _planted(size, block):
    label = np.random.default_rng(0).permutation(size) // block
    noise = np.triu(np.random.default_rng(1).random((size, size)), 1)
    weights = np.where(label[:, None] == label, 1.0, 0.05) + 0.1 * (noise + noise.T)
    np.fill_diagonal(weights, 0)
    return weights, Permutation(np.argsort(label, kind="stable"))


def _cycles(layout, other):
    relative = other.positions()[layout.indices]
    graph = sp.csr_array((np.ones(len(layout)), (np.arange(len(layout)), relative)))
    return connected_components(graph, directed=False)[0]


@pytest.mark.parametrize("swaps", [0, 1, 2, 7])
def test_swaps_are_transpositions(swaps):
    layout = Permutation.random(50, np.random.default_rng(0))
    found = swapped(layout, swaps, np.random.default_rng(1))
    # A transposition changes the number of cycles by one, whatever came before.
    assert (50 - _cycles(layout, found)) % 2 == swaps % 2
    assert (layout.indices != found.indices).sum() <= 2 * swaps


def test_one_swap_moves_exactly_two_and_pairs_are_uniform():
    rng = np.random.default_rng(2)
    counts = np.zeros((4, 4))
    for _ in range(3000):
        found = swapped(Permutation.identity(4), 1, rng)
        first, second = np.flatnonzero(found.indices != np.arange(4))
        counts[first, second] += 1
    assert np.abs(counts[np.triu_indices(4, 1)] / 3000 - 1 / 6).max() < 0.03


def test_impossible_swaps_are_named():
    with pytest.raises(UserError, match="exchange -1 pairs of 4"):
        swapped(Permutation.identity(4), -1, np.random.default_rng(0))
    with pytest.raises(UserError, match="exchange 1 pairs of 1"):
        swapped(Permutation.identity(1), 1, np.random.default_rng(0))
    assert len(swapped(Permutation.identity(1), 0, np.random.default_rng(0))) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(0, 30))
def test_a_path_fixes_its_places_in_turn(seed, size, steps):
    rng = np.random.default_rng(seed)
    start, end = Permutation.random(size, rng), Permutation.random(size, rng)
    places = rng.permutation(size)
    found = towards(start, end, places, steps)
    fixed = places[:steps]
    assert (found.indices[fixed] == end.indices[fixed]).all()
    assert towards(start, end, places, 0) == start
    assert towards(start, end, places, size) == end
    assert (found.indices != start.indices).sum() <= 2 * steps


def test_paths_need_layouts_of_one_length():
    with pytest.raises(UserError, match="between ones of 3 and 4"):
        towards(Permutation.identity(3), Permutation.identity(4), np.arange(3), 1)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("reverse", [False, True])
def test_layouts_are_spread_evenly_over_the_share_inside_blocks(storage, reverse):
    weights, solved = _planted(240, 12)
    affinity = storage(weights)
    start = Permutation.random(240, np.random.default_rng(3))
    ends = (solved, start) if reverse else (start, solved)
    found = spread_layouts(affinity, *ends, 41, 12, np.random.default_rng(4))
    assert (found[0], found[-1]) == ends
    assert len(set(found)) == 41
    shares = np.array([q_frac(affinity, layout, 12) for layout in found])
    wanted = np.linspace(shares[0], shares[-1], 41)
    # One exchange moves two nodes of 11 partners each.
    most = 4 * 11 * weights.max() / weights.sum()
    assert np.abs(shares - wanted).max() <= most / 2 + 1e-12
    again = spread_layouts(affinity, *ends, 41, 12, np.random.default_rng(4))
    assert again == found


def test_a_spread_has_both_ends():
    weights, solved = _planted(24, 6)
    rng = np.random.default_rng(0)
    assert spread_layouts(weights, solved, solved, 3, 6, rng)[0] == solved
    with pytest.raises(UserError, match="1 layouts cannot include both ends"):
        spread_layouts(weights, solved, solved, 1, 6, rng)
