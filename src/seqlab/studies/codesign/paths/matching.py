"""Find the sparsity at which a function of it comes nearest to a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Match:
    """The nearest of all sparsities that were tried.

    Attributes:
        sparsity: In percent.
        value: The function there.
        target: What it should be.
        tried: How many sparsities were tried.
    """

    sparsity: float
    value: float
    target: float
    tried: int

    @property
    def gap(self) -> float:
        """Distance from the target, in the unit of the value."""
        return abs(self.value - self.target)


def match(
    value_at: Callable[[float], float],
    target: float,
    grid: Sequence[float],
    refinements: int,
    enough: float,
) -> Match:
    """Try a grid, then points interpolated between the nearest ones on both sides of the target.

    Nothing is extrapolated: where the whole grid lies on one side, its nearest point is the match,
    however far it is. The value at the match was computed there, it is not interpolated.

    Args:
        value_at: Sparsity in percent -> value.
        target: What the value should be.
        grid: Sparsities, rising.
        refinements: Most points beside the grid.
        enough: Gap at which the search ends.
    """
    tried = {sparsity: value_at(sparsity) for sparsity in grid}
    for _ in range(refinements):
        if min(abs(value - target) for value in tried.values()) <= enough:
            break
        below = [(target - v, s) for s, v in tried.items() if v <= target]
        above = [(v - target, s) for s, v in tried.items() if v > target]
        if not below or not above:
            break
        (under, low), (over, high) = min(below), min(above)
        sparsity = round(low + (high - low) * under / (under + over), 2)
        if sparsity in tried:
            break
        tried[sparsity] = value_at(sparsity)
    nearest = min(tried, key=lambda sparsity: (abs(tried[sparsity] - target), sparsity))
    return Match(nearest, tried[nearest], target, len(tried))
