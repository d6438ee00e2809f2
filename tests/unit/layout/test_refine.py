"""Swaps: exact bookkeeping, no loss, fixed block sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.layout.balance import block_sizes, repaired, spectral_blocks
from seqlab.layout.matching import matched_blocks
from seqlab.layout.refine import Partition, refine


def _affinity(seed, size):
    weights = np.triu(np.random.default_rng(seed).random((size, size)), 1).astype(np.float32)
    return (weights + weights.T) / weights.max()


def _inside(weights, labels):
    return weights[labels[:, None] == labels].sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 24), st.integers(1, 9))
def test_updates_equal_full_recomputation(seed, size, block):
    rng = np.random.default_rng(seed)
    weights = _affinity(seed, size)
    sizes = block_sizes(size, block)
    labels = rng.permutation(np.repeat(np.arange(sizes.size), sizes))
    state = Partition.of(weights, labels, sizes.size)
    for first, second in rng.integers(0, size, (12, 2)):
        if state.labels[first] != state.labels[second]:
            before = _inside(weights, state.labels)
            a, b = state.labels[first], state.labels[second]
            gain = (
                state.gains[b, first]
                - state.own[first]
                + state.gains[a, second]
                - state.own[second]
                - 2 * weights[first, second]
            )
            state.swap(weights, first, second)
            np.testing.assert_allclose(_inside(weights, state.labels) - before, 2 * gain, atol=1e-4)
    fresh = Partition.of(weights, state.labels, sizes.size)
    np.testing.assert_allclose(state.gains, fresh.gains, atol=1e-5)
    np.testing.assert_allclose(state.own, fresh.own, atol=1e-5)
    np.testing.assert_allclose(state.inside(), _inside(weights, state.labels), rtol=1e-5, atol=1e-5)
    assert (np.bincount(state.labels, minlength=sizes.size) == sizes).all()
    for label in range(sizes.size):
        members = state.members[state.starts[label] : state.starts[label + 1]]
        assert set(members) == set(np.flatnonzero(state.labels == label))
    assert (state.members[state.slots] == np.arange(size)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 20), st.integers(1, 7), st.integers(0, 2))
def test_refinement_never_loses_and_keeps_sizes(seed, size, block, kicks):
    rng = np.random.default_rng(seed)
    weights = _affinity(seed, size)
    sizes = block_sizes(size, block)
    labels = rng.permutation(np.repeat(np.arange(sizes.size), sizes))
    refined = refine(weights, [labels], sizes.size, rng=rng, kicks=kicks)
    assert _inside(weights, refined) >= _inside(weights, labels) - 1e-4
    assert (np.bincount(refined, minlength=sizes.size) == sizes).all()


def test_no_single_swap_improves_a_refined_partition():
    weights = _affinity(1, 15)
    labels = np.repeat([0, 1, 2], 5)
    refined = refine(weights, [labels], 3, rng=np.random.default_rng(0), kicks=0)
    reached = _inside(weights, refined)
    for i in range(15):
        for j in range(i):
            swapped = refined.copy()
            swapped[i], swapped[j] = refined[j], refined[i]
            assert _inside(weights, swapped) <= reached + 1e-4


@pytest.mark.parametrize(
    ("size", "block", "expected"),
    [(8, 4, [4, 4]), (9, 4, [4, 4, 1]), (3, 4, [3]), (4, 1, [1] * 4), (0, 4, [])],
)
def test_block_sizes(size, block, expected):
    assert block_sizes(size, block).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 8))
def test_repair_reaches_the_sizes_from_any_partition(seed, size, block):
    rng = np.random.default_rng(seed)
    sizes = block_sizes(size, block)
    labels = rng.integers(0, sizes.size, size)
    assert (
        np.bincount(repaired(_affinity(seed, size + 1)[:size, :size], labels, sizes)) == sizes
    ).all()


def test_repair_leaves_balanced_blocks_alone_and_moves_the_loosest_node():
    weights = np.zeros((6, 6), np.float32)
    weights[:3, :3] = weights[4:, 4:] = 1
    weights[3, 4] = weights[4, 3] = 0.5
    np.fill_diagonal(weights, 0)
    sizes = np.array([3, 3])
    balanced = np.array([0, 0, 0, 1, 1, 1])
    assert (repaired(weights, balanced, sizes) == balanced).all()
    assert repaired(weights, np.array([0, 0, 0, 0, 1, 1]), sizes).tolist() == [0, 0, 0, 1, 1, 1]


def test_spectral_blocks_find_separated_clusters():
    from seqlab.layout.spectral import embedding

    label = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 6))
    weights = np.where(label[:, None] == label, 1, 0.05).astype(np.float32)
    np.fill_diagonal(weights, 0)
    vectors = embedding(weights, 4, np.random.default_rng(1))
    found = spectral_blocks(weights, vectors, 6)
    assert len(set(zip(label.tolist(), found.tolist(), strict=True))) == 4


@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_matched_blocks_have_the_sizes(seed, size, block):
    labels = matched_blocks(_affinity(seed, size + 1)[:size, :size], block)
    sizes = block_sizes(size, block)
    assert (np.bincount(labels, minlength=sizes.size) == sizes).all()


@pytest.mark.parametrize("block", [4, 6, 7])
def test_matched_blocks_find_separated_clusters(block):
    label = np.random.default_rng(0).permutation(np.repeat(np.arange(3), block))
    noise = 0.02 * _affinity(3, 3 * block)
    weights = np.where(label[:, None] == label, 1, 0.05).astype(np.float32) + noise
    np.fill_diagonal(weights, 0)
    found = matched_blocks(weights, block)
    assert len(set(zip(label.tolist(), found.tolist(), strict=True))) == 3
