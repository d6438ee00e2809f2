"""The objective and the three measures, against loops and networkx."""

from itertools import pairwise, permutations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import adjusted_rand_score

from seqlab.errors import UserError
from seqlab.layout.objective import (
    ObjectiveSettings,
    objective,
    partition_similarity,
    q_frac,
    q_frac_excess,
    q_newman,
)
from seqlab.layout.permutation import Permutation

SMALL = ObjectiveSettings(group=2, near=2, vector=4, slices=3)


def _weights(seed, size=13, density=0.7):
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.random((size, size)) * (rng.random((size, size)) < density), 1)
    return weights + weights.T


def _blocks(size, block, inside, outside=0.1):
    label = np.arange(size) // block
    weights = np.where(label[:, None] == label, inside, outside)
    np.fill_diagonal(weights, 0)
    return weights


def _objective_by_loops(weights, layout, previous, s):
    size, pos = len(weights), layout.positions()
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size) if weights[i, j] > 0]
    total = sum(weights[i, j] for i, j in pairs)

    def phi(d):
        return d if d <= s.near else s.near + s.far_slope * (d - s.near)

    far = phi((size - 1) // s.group)
    distance = sum(weights[i, j] * phi(abs(pos[i] - pos[j]) // s.group) for i, j in pairs)
    align = sum(weights[i, j] for i, j in pairs if pos[i] % s.vector != pos[j] % s.vector)
    degree = weights.sum(axis=1)
    width = size // s.slices
    label = [min(p // width, s.slices - 1) for p in pos]
    q = sum(
        weights[i, j] - s.resolution * degree[i] * degree[j] / (2 * total)
        for i, j in pairs
        if label[i] == label[j]
    ) / (2 * total)
    moved = sum(abs(a - b) > s.hysteresis for a, b in zip(pos, previous.positions(), strict=True))
    return distance / far / total, align / total, moved / size, q


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("seed", range(4))
def test_objective_is_the_formula(seed, storage):
    weights = _weights(seed)
    rng = np.random.default_rng(seed + 10)
    layout, previous = Permutation.random(13, rng), Permutation.random(13, rng)
    found = objective(storage(weights), layout, previous=previous, settings=SMALL)
    expected = _objective_by_loops(weights, layout, previous, SMALL)
    terms = (found.distance, found.alignment, found.instability, found.modularity)
    np.testing.assert_allclose(terms, expected, atol=1e-12)
    np.testing.assert_allclose(found.value, np.dot(expected, [1, 0.2, 0.1, -0.5]), atol=1e-12)


def test_defaults_are_the_documented_ones():
    s = ObjectiveSettings()
    assert (s.alpha, s.beta, s.gamma_stability, s.mu) == (1, 0.2, 0.1, 0.5)
    assert (s.group, s.near, s.far_slope) == (64, 3, 0.25)
    assert (s.resolution, s.slices, s.vector, s.hysteresis) == (1.2, 4, 16, 2)


def test_sharper_blocks_lower_c_and_raise_q():
    layout = Permutation.identity(256)
    found = [objective(_blocks(256, 64, sharp), layout) for sharp in (0.2, 0.5, 1.0)]
    assert all(b.distance < a.distance for a, b in pairwise(found))
    assert all(b.modularity > a.modularity for a, b in pairwise(found))


def test_larger_groups_lower_c():
    weights, layout = _weights(0, 200), Permutation.random(200, np.random.default_rng(0))
    costs = [
        objective(weights, layout, settings=ObjectiveSettings(group=group)).distance
        for group in (8, 32, 64, 256)
    ]
    assert all(b < a for a, b in pairwise(costs))
    assert costs[-1] == 0


def test_the_best_layout_does_not_depend_on_the_scale_of_w():
    weights = _weights(3, 6)
    layouts = [Permutation(order) for order in permutations(range(6))]

    def best(scale):
        return min(layouts, key=lambda pi: objective(scale * weights, pi, settings=SMALL).value)

    assert best(1.0) == best(1024.0) == best(2.0**-20)


def test_modularity_as_coded_cannot_exceed_a_half():
    weights = _blocks(64, 16, 1.0, 0.0)
    layout = Permutation.identity(64)
    assert objective(weights, layout).modularity <= 0.5
    assert q_newman(weights, layout, 16) == pytest.approx(0.75)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("seed", range(4))
def test_q_newman_is_that_of_networkx(seed, storage):
    weights = _weights(seed)
    layout = Permutation.random(13, np.random.default_rng(seed))
    groups = [set(layout.indices[start : start + 4].tolist()) for start in range(0, 13, 4)]
    for resolution in (1.0, 1.2):
        expected = nx.community.modularity(
            nx.from_numpy_array(weights), groups, resolution=resolution
        )
        found = q_newman(storage(weights), layout, 4, resolution)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_q_frac_is_the_share_inside_contiguous_blocks():
    weights = _weights(5)
    layout = Permutation.random(13, np.random.default_rng(5))
    ordered = weights[np.ix_(layout.indices, layout.indices)]
    inside = sum(ordered[s : s + 4, s : s + 4].sum() for s in range(0, 13, 4))
    np.testing.assert_allclose(q_frac(weights, layout, 4), inside / weights.sum())
    np.testing.assert_allclose(q_frac(sp.csr_array(weights), layout, 4), inside / weights.sum())


@pytest.mark.parametrize("size", [12, 13])
def test_excess_vanishes_on_average_over_random_layouts(size):
    weights, rng = _weights(6, size), np.random.default_rng(0)
    mean = np.mean([q_frac_excess(weights, Permutation.random(size, rng), 4) for _ in range(3000)])
    assert abs(mean) < 0.005
    flat = np.ones((12, 12)) - np.eye(12)
    assert q_frac(flat, Permutation.identity(12), 4) == pytest.approx(3 / 11)
    assert q_frac_excess(flat, Permutation.identity(12), 4) == pytest.approx(0)


def test_an_affinity_without_weight_scores_zero():
    zero, layout = np.zeros((5, 5)), Permutation.identity(5)
    assert objective(zero, layout).value == 0
    assert q_frac(zero, layout, 2) == q_newman(zero, layout, 2) == 0
    assert q_frac_excess(zero, layout, 2) == 0


@pytest.mark.parametrize("seed", range(5))
def test_partition_similarity_is_the_adjusted_rand_index(seed):
    rng = np.random.default_rng(seed)
    a, b = Permutation.random(23, rng), Permutation.random(23, rng)
    expected = adjusted_rand_score(a.positions() // 4, b.positions() // 4)
    np.testing.assert_allclose(partition_similarity(a, b, 4), expected, atol=1e-12)


def test_partition_similarity_ignores_order_in_and_of_blocks():
    a = Permutation([0, 1, 2, 3, 4, 5])
    assert partition_similarity(a, Permutation([5, 3, 4, 1, 2, 0]), 3) == 1
    assert partition_similarity(a, Permutation([0, 3, 1, 4, 2, 5]), 3) < 0
    assert partition_similarity(a, a.inverse(), 1) == 1
    assert partition_similarity(a, a, 10) == 1


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"\(3, 3\) does not fit a layout of 2"):
        q_frac(np.zeros((3, 3)), Permutation.identity(2), 2)
    with pytest.raises(UserError, match="at least one node"):
        q_newman(np.zeros((3, 3)), Permutation.identity(3), 0)
    with pytest.raises(UserError, match="3 and 2"):
        partition_similarity(Permutation.identity(3), Permutation.identity(2), 2)
