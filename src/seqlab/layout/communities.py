"""Louvain communities of a dense affinity (Blondel, Guillaume, Lambiotte and Lefebvre, 2008)."""

from __future__ import annotations

from typing import TypeVar

import numba
import numpy as np
import numpy.typing as npt

_MAX_PASSES = 50
_SMALLEST_GAIN = 1e-9

_Float = TypeVar("_Float", bound=np.floating)


def louvain(
    affinity: npt.NDArray[np.float32], resolution: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return (D,) community labels 0..C-1 of locally maximal modularity.

    Nodes move one at a time, in random order, to the community that raises modularity most; then
    communities become the nodes of a smaller graph, until nothing moves. An affinity without
    weight is one community.

    Args:
        affinity: (D, D) symmetric float32, zero diagonal.
        resolution: Weight of the null model; larger values give more communities.
        rng: Draws the order of visits.
    """
    total = float(affinity.sum(dtype=np.float64))
    labels = np.arange(affinity.shape[0])
    if total == 0:
        return np.zeros_like(labels)
    graph = affinity.astype(np.float64) / total
    while True:
        size = graph.shape[0]
        local = np.arange(size)
        visits = rng.permutation(size)
        moved = _move_nodes(graph, graph.sum(axis=1), local, visits, resolution)
        if not moved:
            return labels
        _, local = np.unique(local, return_inverse=True)
        labels = local[labels]
        graph = aggregated(graph, local)


def aggregated(graph: npt.NDArray[_Float], labels: npt.NDArray[np.int64]) -> npt.NDArray[_Float]:
    """Sum a (D, D) graph over groups 0..C-1; weight inside a group becomes its self-loop."""
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(labels))[:-1]))
    rows = np.add.reduceat(graph[order], starts, axis=0)
    return np.add.reduceat(np.take(rows, order, axis=1), starts, axis=1)


@numba.njit(cache=True)
def _move_nodes(
    graph: npt.NDArray[np.float64],
    degree: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    visits: npt.NDArray[np.int64],
    resolution: float,
) -> bool:
    size = graph.shape[0]
    community_degree = degree.copy()
    to_community = np.zeros(size)
    any_moved = False
    for _ in range(_MAX_PASSES):
        moved = False
        for node in visits:
            home = labels[node]
            to_community[:] = 0
            for other in range(size):
                to_community[labels[other]] += graph[node, other]
            to_community[home] -= graph[node, node]
            community_degree[home] -= degree[node]
            best = home
            best_gain = to_community[home] - resolution * degree[node] * community_degree[home]
            for target in range(size):
                gain = to_community[target] - resolution * degree[node] * community_degree[target]
                if to_community[target] > 0 and gain > best_gain + _SMALLEST_GAIN * degree[node]:
                    best, best_gain = target, gain
            community_degree[best] += degree[node]
            if best != home:
                labels[node] = best
                moved = True
        any_moved = any_moved or moved
        if not moved:
            break
    return any_moved
