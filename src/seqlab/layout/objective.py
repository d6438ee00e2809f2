"""How good a layout is: the original study's objective J and three measures of block affinity.

J is kept as it was coded so that its numbers can be compared; it is not what the solvers optimise.
With `pos` the position map of a layout, sums over pairs i < j and S the sum of W over pairs:

    J = alpha C + beta A + gamma_s R - mu Q
    C = sum W_ij phi(|pos_i - pos_j| // g) / (S phi((D - 1) // g)),
        phi(d) = d up to lambda, then lambda + tau (d - lambda)
    A = sum W_ij [pos_i mod v != pos_j mod v] / S
    R = share of nodes that moved by more than h from the previous layout
    Q = sum over pairs with W_ij > 0 in one of k equal slices of (W_ij - gamma k_i k_j / 2S) / 2S

Three faults of it are documented rather than repaired: A penalises partners that share a vector in
different lanes, which works against locality (set beta to zero, or use Q_frac); Q counts each pair
once and its null term only on existing edges, so it cannot exceed 0.5; C is zero for D <= g.

The measures to report are `q_frac` (share of affinity inside blocks of B), the same minus its
expectation under a random layout, and `q_newman` (Newman and Girvan, 2004).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from seqlab.errors import UserError
from seqlab.layout.canonical import Affinity, is_sparse
from seqlab.layout.permutation import Permutation


@dataclass(frozen=True)
class ObjectiveSettings:
    """Weights and constants of J, with the defaults of the original study."""

    alpha: float = 1.0
    beta: float = 0.2
    gamma_stability: float = 0.1
    mu: float = 0.5
    group: int = 64
    near: int = 3
    far_slope: float = 0.25
    resolution: float = 1.2
    slices: int = 4
    vector: int = 16
    hysteresis: int = 2


@dataclass(frozen=True)
class Objective:
    """J and its terms: distance C, alignment A, instability R, modularity as coded Q."""

    value: float
    distance: float
    alignment: float
    instability: float
    modularity: float


def objective(
    affinity: Affinity,
    layout: Permutation,
    *,
    previous: Permutation | None = None,
    settings: ObjectiveSettings = ObjectiveSettings(),
) -> Objective:
    """Evaluate J of a layout; see the module for its formula.

    Args:
        affinity: (D, D) symmetric weights, both triangles stored, zero diagonal.
        layout: Layout of the D nodes, `layout.indices[new] = old`.
        previous: Layout that R compares with; R is zero without one.
        settings: Weights and constants.

    Raises:
        UserError: The layout is not of D nodes.
    """
    _require_fit(affinity, layout)
    size = len(layout)
    positions = layout.positions()
    pairs = float(affinity.sum()) / 2
    moved = (
        float(np.mean(np.abs(positions - previous.positions()) > settings.hysteresis))
        if previous is not None and size
        else 0.0
    )
    if pairs > 0:
        distance = _distance_cost(affinity, positions, settings) / pairs
        alignment = 1 - _inside(affinity, positions % settings.vector) / (2 * pairs)
        modularity = _coded_modularity(affinity, positions, settings, pairs)
    else:
        distance = alignment = modularity = 0.0
    value = (
        settings.alpha * distance
        + settings.beta * alignment
        + settings.gamma_stability * moved
        - settings.mu * modularity
    )
    return Objective(value, distance, alignment, moved, modularity)


def q_frac(affinity: Affinity, layout: Permutation, block: int) -> float:
    """Return the share of all affinity that lies inside contiguous blocks of `block` positions.

    An affinity without weight has none inside: 0.

    Raises:
        UserError: The layout does not fit, or `block` is below one.
    """
    total = float(affinity.sum())
    inside = _inside(affinity, _blocks(affinity, layout, block))
    return inside / total if total > 0 else 0.0


def q_frac_excess(affinity: Affinity, layout: Permutation, block: int) -> float:
    """Return `q_frac` minus its expectation under a uniformly random layout.

    The expectation is the share of pairs of positions that fall into one block,
    sum n_b (n_b - 1) / (D (D - 1)), which is (B - 1) / (D - 1) if B divides D. It does not depend
    on the weights.
    """
    size = len(layout)
    if size < 2:
        return 0.0
    if float(affinity.sum()) == 0:
        return 0.0
    counts = np.bincount(_blocks(affinity, layout, block)).astype(float)
    expected = float((counts * (counts - 1)).sum()) / (size * (size - 1))
    return q_frac(affinity, layout, block) - expected


def q_newman(affinity: Affinity, layout: Permutation, block: int, resolution: float = 1.0) -> float:
    """Return the Newman-Girvan modularity of the contiguous blocks of `block` positions.

    Raises:
        UserError: The layout does not fit, or `block` is below one.
    """
    labels = _blocks(affinity, layout, block)
    degree = _degree(affinity)
    total = float(degree.sum())
    if total == 0:
        return 0.0
    block_degree = np.bincount(labels, weights=degree)
    null = float(((block_degree / total) ** 2).sum())
    return _inside(affinity, labels) / total - resolution * null


def partition_similarity(first: Permutation, second: Permutation, block: int) -> float:
    """Return the adjusted Rand index of the block partitions of two layouts.

    One for the same sets of nodes, whatever the order of and inside the blocks; zero on average
    for unrelated layouts (Hubert and Arabie, 1985).

    Raises:
        UserError: The lengths differ, or `block` is below one.
    """
    if len(first) != len(second):
        raise UserError(f"cannot compare layouts of {len(first)} and {len(second)} nodes")
    _require_block(block)
    size = len(first)
    a, b = first.positions() // block, second.positions() // block
    shared = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)[1]
    together = sum(comb(int(n), 2) for n in shared)
    pairs_a = sum(comb(int(n), 2) for n in np.bincount(a))
    pairs_b = sum(comb(int(n), 2) for n in np.bincount(b))
    if size < 2 or pairs_a + pairs_b == 0:
        return 1.0
    expected = pairs_a * pairs_b / comb(size, 2)
    ceiling = (pairs_a + pairs_b) / 2
    return 1.0 if ceiling == expected else (together - expected) / (ceiling - expected)


def _distance_cost(
    affinity: Affinity, positions: npt.NDArray[np.int64], settings: ObjectiveSettings
) -> float:
    """Return sum over pairs of W phi(d), relative to phi of the largest distance."""
    size = positions.size
    farthest = (size - 1) // settings.group
    if farthest == 0:
        return 0.0
    offsets = np.arange(farthest + 1)
    near = np.minimum(offsets, settings.near)
    phi = near + settings.far_slope * np.maximum(offsets - settings.near, 0)
    order = np.argsort(positions)
    total = 0.0
    if is_sparse(affinity):
        entries = affinity.tocoo()
        gap = np.abs(positions[entries.row] - positions[entries.col]) // settings.group
        total = float((entries.data * phi[gap]).sum())
    else:
        spread = np.abs(np.arange(-size + 1, size)) // settings.group
        weight = phi[spread]
        for place, node in enumerate(order):
            reach = weight[size - 1 - place : 2 * size - 1 - place]
            total += float(affinity[node, order] @ reach)
    return total / 2 / float(phi[farthest])


def _coded_modularity(
    affinity: Affinity,
    positions: npt.NDArray[np.int64],
    settings: ObjectiveSettings,
    pairs: float,
) -> float:
    """Return Q as coded: k equal slices, the last one takes the remainder."""
    width = max(1, positions.size // settings.slices)
    labels = np.minimum(positions // width, settings.slices - 1)
    degree = _degree(affinity)
    null = 0.0
    if is_sparse(affinity):
        entries = affinity.tocoo()
        same = (labels[entries.row] == labels[entries.col]) & (entries.data > 0)
        null = float((degree[entries.row[same]] * degree[entries.col[same]]).sum())
    else:
        for label in np.unique(labels):
            nodes = np.flatnonzero(labels == label)
            edges = (affinity[np.ix_(nodes, nodes)] > 0).astype(np.float64)
            null += float(degree[nodes] @ (edges @ degree[nodes]))
    inside = _inside(affinity, labels)
    return (inside - settings.resolution * null / (2 * pairs)) / 2 / (2 * pairs)


def _inside(affinity: Affinity, labels: npt.NDArray[np.int64]) -> float:
    """Return the sum of W over ordered pairs with equal labels."""
    if is_sparse(affinity):
        entries = affinity.tocoo()
        return float(entries.data[labels[entries.row] == labels[entries.col]].sum())
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    starts = ends - np.bincount(labels)
    return sum(
        float(affinity[np.ix_(order[start:end], order[start:end])].sum())
        for start, end in zip(starts, ends, strict=True)
    )


def _degree(affinity: Affinity) -> npt.NDArray[np.float64]:
    return np.asarray(affinity.sum(axis=1)).ravel()


def _blocks(affinity: Affinity, layout: Permutation, block: int) -> npt.NDArray[np.int64]:
    """Return the block of each node under a layout."""
    _require_fit(affinity, layout)
    _require_block(block)
    return layout.positions() // block


def _require_fit(affinity: Affinity, layout: Permutation) -> None:
    if tuple(affinity.shape) != (len(layout), len(layout)):
        raise UserError(
            f"an affinity of shape {tuple(affinity.shape)} does not fit a layout of "
            f"{len(layout)} nodes"
        )


def _require_block(block: int) -> None:
    if block < 1:
        raise UserError(f"a block holds at least one node, not {block}")
