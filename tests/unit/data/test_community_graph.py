"""Generated graphs have the structure they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqlab.data.community_graph import draw_community_graph
from seqlab.errors import UserError

SETTINGS: dict[str, Any] = {
    "nodes": 3000,
    "edges": 20_000,
    "communities": 12,
    "classes": 5,
    "features": 8,
    "mixing": 0.2,
    "noise": 1.0,
}


def draw(seed: int = 0, **changes: Any):
    return draw_community_graph(**SETTINGS | changes, rng=np.random.default_rng(seed))


def test_edges_are_undirected_without_loops_or_repeats() -> None:
    graph = draw()
    pairs = set(zip(*graph.edge_index.tolist(), strict=True))
    assert len(pairs) == graph.edge_index.shape[1]
    assert all((b, a) in pairs and a != b for a, b in pairs)
    assert 0.8 * 20_000 < len(pairs) / 2 <= 20_000


@pytest.mark.parametrize("mixing", [0.0, 0.2, 0.6])
def test_mixing_is_the_share_of_edges_between_communities(mixing: float) -> None:
    graph = draw(mixing=mixing)
    # An edge drawn anywhere may still stay inside; a large community holds a few times 1 / 12.
    inside_by_chance = np.sum((np.bincount(graph.communities) / graph.nodes) ** 2)
    assert graph.realised_mixing == pytest.approx(mixing * (1 - inside_by_chance), abs=0.06)


def test_degrees_are_skewed_and_labels_follow_communities() -> None:
    graph = draw()
    degree = np.bincount(graph.edge_index[0], minlength=graph.nodes)
    assert degree.max() > 8 * np.median(degree)
    assert np.array_equal(graph.labels, graph.communities % 5)
    assert set(graph.communities) == set(range(12))


def test_the_order_of_nodes_carries_nothing() -> None:
    graph = draw()
    neighbours = graph.communities[:-1] == graph.communities[1:]
    expected = np.sum((np.bincount(graph.communities) / graph.nodes) ** 2)
    assert neighbours.mean() == pytest.approx(expected, abs=0.04)


def test_features_centre_on_the_community() -> None:
    graph = draw(noise=0.1)
    for community in range(12):
        members = graph.features[graph.communities == community]
        assert members.std(axis=0).max() < 0.2


def test_the_same_seed_draws_the_same_graph() -> None:
    first, second, other = draw(1), draw(1), draw(2)
    assert np.array_equal(first.edge_index, second.edge_index)
    assert np.array_equal(first.features, second.features)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize(
    "changes",
    [{"classes": 13}, {"communities": 3001}, {"edges": 0}, {"mixing": 1.5}, {"features": 0}],
)
def test_impossible_graphs_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        draw(**changes)
