"""Orders of large sparse graphs: validity, determinism, recovery, exact block sizes."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.data.community_graph import draw_community_graph
from seqlab.errors import UserError
from seqlab.layout import node_orders
from seqlab.layout.balance import block_sizes
from seqlab.layout.coarsening import contracted, hierarchy
from seqlab.layout.node_orders import ORDERS, node_order
from seqlab.layout.objective import q_frac
from seqlab.layout.permutation import Permutation
from seqlab.layout.sparse_blocks import balanced, improved


def _graph(seed, size, density=0.2):
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.random((size, size)) * (rng.random((size, size)) < density), 1)
    return sp.csr_array((weights + weights.T).astype(np.float32))


def _communities(nodes=4096, edges=40_000, communities=32):
    drawn = draw_community_graph(
        nodes, edges, communities, 4, 1, 0.1, 1.0, np.random.default_rng(0)
    )
    source, target = drawn.edge_index
    return sp.csr_array((np.ones(source.size), (target, source)), shape=(nodes, nodes))


def _star(leaves):
    hub = np.zeros(leaves, np.int64)
    leaf = np.arange(1, leaves + 1)
    ends = np.append(hub, leaf), np.append(leaf, hub)
    return sp.csr_array((np.ones(2 * leaves), ends), shape=(leaves + 1, leaves + 1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [0, 1, 2, 9, 50])
@pytest.mark.parametrize("block", [1, 8, 100])
def test_every_order_is_a_repeatable_permutation(order, size, block):
    graph = _graph(size, size)
    found = node_order(graph, order, 3, block=block)
    assert sorted(found.indices.tolist()) == list(range(size))
    assert node_order(graph.tocoo(), order, 3, block=block) == found


@pytest.mark.compiled
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "graph", [sp.csr_array((5000, 5000)), _star(4999)], ids=["no edges", "star"]
)
def test_graphs_that_no_pair_matching_shrinks(order, graph):
    found = node_order(graph, order, 0, block=64)
    assert sorted(found.indices.tolist()) == list(range(5000))


def test_original_degree_and_random():
    graph = _graph(1, 30)
    degree = (graph.toarray() > 0).sum(axis=1)
    assert node_order(graph, "original", 0) == Permutation.identity(30)
    found = node_order(graph, "degree", 0).indices
    assert found.tolist() == sorted(range(30), key=lambda node: (-degree[node], node))
    assert len({node_order(graph, "random", seed) for seed in range(4)}) == 4


def test_rcm_unties_a_shuffled_band():
    size = 200
    band = sp.diags_array([np.ones(size - 1)] * 2, offsets=[-1, 1], shape=(size, size)).tocsr()
    shuffle = np.random.default_rng(0).permutation(size)
    order = node_order(sp.csr_array(band[shuffle][:, shuffle]), "rcm", 0)
    ends = shuffle[order.indices]
    assert (np.abs(np.diff(ends)) == 1).all()


@pytest.mark.compiled
def test_multilevel_brings_communities_together_as_metis_does():
    graph = _communities()
    share = {name: q_frac(graph, node_order(graph, name, 0, block=128), 128) for name in ORDERS}
    assert share["multilevel"] >= 0.95 * share["metis"]
    assert share["multilevel"] > 2 * share["rcm"]
    assert share["random"] < 0.05


def test_multilevel_of_a_graph_larger_than_its_coarsest(monkeypatch):
    monkeypatch.setattr(node_orders, "COARSE_NODES", 64)
    blocks = sp.block_diag([sp.csr_array(1 - np.eye(16))] * 40).tocsr()
    shuffle = np.random.default_rng(1).permutation(640)
    graph = sp.csr_array(blocks[shuffle][:, shuffle])
    found = node_order(graph, "multilevel", 0, block=16)
    assert q_frac(graph, found, 16) == 1.0


def test_bad_graphs_and_orders_are_named(monkeypatch):
    graph = _graph(0, 8)
    with pytest.raises(UserError, match="'bfs' is none of original, random"):
        node_order(graph, "bfs", 0)
    with pytest.raises(UserError, match="at least one node, not 0"):
        node_order(graph, "metis", 0, block=0)
    with pytest.raises(UserError, match="sparse matrix, not ndarray"):
        node_order(graph.toarray(), "rcm", 0)
    with pytest.raises(UserError, match="not symmetric"):
        node_order(sp.triu(graph).tocsr(), "rcm", 0)
    monkeypatch.setitem(sys.modules, "pymetis", None)
    with pytest.raises(UserError, match="pymetis"):
        node_order(graph, "metis", 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 20), st.floats(0, 0.4))
def test_hierarchies_keep_nodes_and_weight(seed, size, nodes, density):
    graph = _graph(seed, size, density)
    levels = hierarchy(graph, nodes, np.random.default_rng(seed))
    assert levels[-1].parents is None
    members = np.arange(size)
    for finer, coarser in pairwise(levels):
        members = finer.parents[members]
        dense = graph.toarray()
        count = coarser.sizes.size
        assert (np.bincount(members, minlength=count) == coarser.sizes).all()
        indicator = np.eye(count)[members]
        between = indicator.T @ dense @ indicator
        np.fill_diagonal(between, 0)
        np.testing.assert_allclose(coarser.graph.toarray(), between, rtol=1e-4, atol=1e-6)
        assert np.bincount(finer.parents).max() <= 2
    cap = max(2, int(np.ceil(1.5 * size / nodes)))
    assert levels[-1].sizes.max() <= max(cap, 1)
    # Any two nodes of at most half the cap would have met.
    small = levels[-1].sizes <= cap // 2
    assert levels[-1].sizes.size <= nodes or small.sum() <= 1


def test_pairs_follow_the_heaviest_edges():
    ends = np.array([0, 1, 1, 2, 2, 3]), np.array([1, 0, 2, 1, 3, 2])
    chain = sp.csr_array((np.array([9, 9, 1, 1, 9, 9], np.float32), ends), shape=(4, 4))
    level = hierarchy(chain, 2, np.random.default_rng(0))[0]
    assert level.parents.tolist() == [0, 0, 1, 1]
    assert contracted(chain, level.parents, 2).toarray().tolist() == [[0, 1], [1, 0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 9))
def test_balancing_reaches_the_sizes_from_any_labels(seed, size, block):
    sizes = block_sizes(size, block)
    labels = np.random.default_rng(seed).integers(0, sizes.size, size)
    found = balanced(_graph(seed, size), labels, sizes)
    assert np.bincount(found, minlength=sizes.size).tolist() == sizes.tolist()


def test_balancing_moves_the_loosest_node():
    weights = np.zeros((6, 6), np.float32)
    weights[:3, :3] = weights[4:, 4:] = 1
    weights[3, 4] = weights[4, 3] = 0.5
    np.fill_diagonal(weights, 0)
    sizes = np.array([3, 3])
    found = balanced(sp.csr_array(weights), np.array([0, 0, 0, 0, 1, 1]), sizes)
    assert found.tolist() == [0, 0, 0, 1, 1, 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 9))
def test_moves_never_lose_and_keep_the_sizes(seed, size, block):
    rng = np.random.default_rng(seed)
    graph, sizes = _graph(seed, size), block_sizes(size, block)
    labels = rng.permutation(np.repeat(np.arange(sizes.size), sizes))
    found = improved(graph, labels, sizes, rng)
    dense = graph.toarray()
    before, after = (dense[given[:, None] == given].sum() for given in (labels, found))
    assert after >= before - 1e-4
    assert np.bincount(found, minlength=sizes.size).tolist() == sizes.tolist()
