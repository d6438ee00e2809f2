"""Generated graphs with communities: a stand-in for a citation graph where none may be fetched.

A degree-corrected stochastic block model (Karrer and Newman 2011): community sizes and expected
degrees follow power laws, and every edge stays inside its community but for a share `mixing`, as in
the LFR benchmark. Node features are the centre of the community plus Gaussian noise; the class of a
node is that of its community. Node labels are shuffled, so that the order carries nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqlab.errors import UserError

Integers = npt.NDArray[np.int64]

# Exponents within the ranges of the LFR benchmark (Lancichinetti et al. 2008).
_SIZE_EXPONENT = 1.5
_DEGREE_EXPONENT = 2.5
# The heaviest node's expected degree, as a multiple of the lightest one's.
_DEGREE_RANGE = 100.0
_SIZE_RANGE = 10.0


@dataclass(frozen=True)
class CommunityGraph:
    """An undirected graph with features and classes.

    Attributes:
        edge_index: (2, E) int64, every edge in both directions, sorted, without loops or repeats.
        features: (N, C) float32.
        labels: (N,) int64, class of each node.
        communities: (N,) int64, community of each node.
    """

    edge_index: Integers
    features: npt.NDArray[np.float32]
    labels: Integers
    communities: Integers

    @property
    def nodes(self) -> int:
        """Number of nodes N."""
        return len(self.labels)

    @property
    def realised_mixing(self) -> float:
        """Share of edges that lead from one community to another."""
        source, target = self.communities[self.edge_index]
        return float(np.mean(source != target))


def draw_community_graph(
    nodes: int,
    edges: int,
    communities: int,
    classes: int,
    features: int,
    mixing: float,
    noise: float,
    rng: np.random.Generator,
) -> CommunityGraph:
    """Draw a graph.

    Args:
        nodes: N.
        edges: Undirected edges drawn; loops and repeats are dropped, so slightly fewer remain.
        communities: Number of communities; `classes` of them share their labels in turn.
        classes: Number of classes, at most the number of communities.
        features: Width of the node features.
        mixing: Share of edges drawn between any two nodes instead of inside a community.
        noise: Standard deviation of the features around the centre, whose own is 1.
        rng: Source of everything drawn.

    Raises:
        UserError: Numbers that no such graph has.
    """
    if not 1 <= classes <= communities <= nodes or min(edges, features) < 1:
        raise UserError(
            f"no graph of {nodes} nodes, {edges} edges, {communities} communities, {classes} "
            f"classes and {features} features",
            fix="classes <= communities <= nodes, at least one edge and feature",
        )
    if not 0.0 <= mixing <= 1.0:
        raise UserError(f"mixing {mixing} is not a share", fix="give 0 to 1")
    member = np.sort(_power_law_choice(nodes, communities, rng))
    weight = _power_law(nodes, _DEGREE_EXPONENT, _DEGREE_RANGE, rng)
    between = int(rng.binomial(edges, mixing))
    source, target = _inside(member, weight, edges - between, rng)
    anywhere = rng.choice(nodes, (2, between), p=weight / weight.sum())
    source, target = np.append(source, anywhere[0]), np.append(target, anywhere[1])
    label = rng.permutation(nodes)
    edge_index = _both_directions(label[source], label[target], nodes)
    community = np.empty(nodes, np.int64)
    community[label] = member
    centres = rng.standard_normal((communities, features))
    values = centres[community] + noise * rng.standard_normal((nodes, features))
    return CommunityGraph(edge_index, values.astype(np.float32), community % classes, community)


def _power_law(size: int, exponent: float, spread: float, rng: np.random.Generator) -> Any:
    """Draw from a density x^-exponent between 1 and `spread`."""
    power = 1.0 - exponent
    return (1.0 + rng.random(size) * (spread**power - 1.0)) ** (1.0 / power)


def _power_law_choice(nodes: int, communities: int, rng: np.random.Generator) -> Integers:
    """Return a community for every node, each used at least once."""
    shares = _power_law(communities, _SIZE_EXPONENT, _SIZE_RANGE, rng)
    drawn = rng.choice(communities, nodes - communities, p=shares / shares.sum())
    return np.append(np.arange(communities), drawn)


def _inside(
    member: Integers, weight: Any, edges: int, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Draw both ends of each edge from one community, by weight; nodes are sorted by community."""
    heaped = np.cumsum(weight)
    start = np.append(0.0, heaped)[np.searchsorted(member, np.arange(member[-1] + 1))]
    end = np.append(start[1:], heaped[-1])
    mass = end - start
    chosen = rng.choice(len(mass), edges, p=mass / mass.sum())
    ends = [
        np.searchsorted(heaped, start[chosen] + rng.random(edges) * mass[chosen], side="right")
        for _ in range(2)
    ]
    last = len(member) - 1
    return np.minimum(ends[0], last), np.minimum(ends[1], last)


def _both_directions(source: Integers, target: Integers, nodes: int) -> Integers:
    kept = source != target
    low = np.minimum(source[kept], target[kept])
    high = np.maximum(source[kept], target[kept])
    key = np.unique(low * nodes + high)
    low, high = key // nodes, key % nodes
    edge_index = np.stack([np.append(low, high), np.append(high, low)])
    return edge_index[:, np.lexsort((edge_index[0], edge_index[1]))]
