"""Layouts between two given ones, for plots of a quantity against the quality of a layout."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from seqlab.errors import UserError
from seqlab.layout.canonical import Affinity
from seqlab.layout.objective import q_frac
from seqlab.layout.permutation import Permutation

Integers = npt.NDArray[np.int64]


def swapped(layout: Permutation, swaps: int, rng: np.random.Generator) -> Permutation:
    """Exchange the nodes of `swaps` random pairs of positions, one pair after the other.

    Args:
        layout: Layout of at least two nodes, unless `swaps` is zero.
        swaps: Number of exchanges; each is of two different positions.
        rng: Draws the pairs.

    Raises:
        UserError: `swaps` is negative, or there are no two positions.
    """
    size = len(layout)
    if swaps < 0 or (swaps and size < 2):
        raise UserError(f"cannot exchange {swaps} pairs of {size} positions")
    indices = layout.indices.copy()
    if swaps:
        first = rng.integers(size, size=swaps)
        second = rng.integers(size - 1, size=swaps)
        second += second >= first
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            indices[a], indices[b] = indices[b], indices[a]
    return Permutation(indices)


def towards(start: Permutation, end: Permutation, places: Integers, steps: int) -> Permutation:
    """Give the first `steps` of `places` the nodes they have in `end`, by exchanges.

    With all places the result is `end`.

    Args:
        start: Layout of D nodes to begin with.
        end: Layout of D nodes to go to.
        places: Distinct positions in 0..D-1.
        steps: How many of them.

    Raises:
        UserError: The layouts are of different lengths.
    """
    if len(start) != len(end):
        raise UserError(f"no layouts lie between ones of {len(start)} and {len(end)} nodes")
    return Permutation(_exchanged(start.indices, start.positions(), end.indices, places[:steps]))


def spread_layouts(
    affinity: Affinity,
    start: Permutation,
    end: Permutation,
    count: int,
    block: int,
    rng: np.random.Generator,
) -> list[Permutation]:
    """Return layouts from `start` to `end` whose `q_frac` is spread evenly between theirs.

    Each one in between goes from `start` towards `end` by its own random order of positions, as far
    as brings it nearest to the wanted Q_frac: within half of what one exchange changes.

    Args:
        affinity: (D, D) weights.
        start: Layout of D nodes, for instance a random one.
        end: Layout of D nodes, for instance a solved one.
        count: Number of layouts, both ends included; at least two.
        block: Nodes to a block, B.
        rng: Draws the orders of positions.

    Raises:
        UserError: `count` is below two, `block` below one, or the layouts do not fit.
    """
    if count < 2:
        raise UserError(f"{count} layouts cannot include both ends", fix="ask for two or more")
    ends = q_frac(affinity, start, block), q_frac(affinity, end, block)
    wanted = np.linspace(*ends, count)[1:-1]
    between = [_nearest(affinity, start, end, float(goal), block, rng) for goal in wanted]
    return [start, *between, end]


def _nearest(
    affinity: Affinity,
    start: Permutation,
    end: Permutation,
    goal: float,
    block: int,
    rng: np.random.Generator,
) -> Permutation:
    """Find where a random path from `start` to `end` crosses a Q_frac between theirs."""
    places = rng.permutation(len(start))
    low, high = 0, len(start)
    before, after = start, end
    values = [q_frac(affinity, start, block), q_frac(affinity, end, block)]
    rising = values[0] <= values[1]
    # The path need not be monotonic: a crossing lies between any two points on either side.
    while high - low > 1:
        middle = (low + high) // 2
        layout = towards(start, end, places, middle)
        value = q_frac(affinity, layout, block)
        if (value <= goal) == rising:
            low, before, values[0] = middle, layout, value
        else:
            high, after, values[1] = middle, layout, value
    return before if abs(values[0] - goal) <= abs(values[1] - goal) else after


@numba.njit(cache=True)
def _exchanged(start: Integers, positions: Integers, end: Integers, places: Integers) -> Integers:
    indices = start.copy()
    where = positions.copy()
    for place in places:
        node, other = end[place], indices[place]
        source = where[node]
        indices[place], indices[source] = node, other
        where[node], where[other] = place, source
    return indices
