"""Orders that maximise the affinity of neighbours: a travelling-salesman path."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

_MAX_MOVES = 1000
_SMALLEST_GAIN = 1e-6


def greedy_route(affinity: npt.NDArray[np.float32], start: int) -> npt.NDArray[np.int64]:
    """Return (D,) nodes: from `start`, always on to the unvisited node of largest affinity."""
    return _greedy(affinity, start)


def two_opt(
    affinity: npt.NDArray[np.float32], route: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Reverse segments of a path while its sum of W[route[i], route[i+1]] rises.

    First improvement, at most 1,000 accepted moves, as the original study had it.
    """
    improved = route.copy()
    _two_opt(affinity, improved, _MAX_MOVES, _SMALLEST_GAIN)
    return improved


@numba.njit(cache=True)
def _greedy(affinity: npt.NDArray[np.float32], start: int) -> npt.NDArray[np.int64]:
    size = affinity.shape[0]
    route = np.empty(size, np.int64)
    left = np.ones(size, np.bool_)
    node = start
    for place in range(size):
        route[place] = node
        left[node] = False
        best, weight = -1, np.float32(-1)
        for other in range(size):
            if left[other] and affinity[node, other] > weight:
                best, weight = other, affinity[node, other]
        node = best
    return route


@numba.njit(cache=True)
def _two_opt(
    affinity: npt.NDArray[np.float32], route: npt.NDArray[np.int64], max_moves: int, smallest: float
) -> None:
    size = route.shape[0]
    moves = 0
    improved = True
    while improved and moves < max_moves:
        improved = False
        for i in range(size - 1):
            # Reversing route[i..j] changes the edges before i and after j; either may not exist.
            for j in range(i + 1, size):
                gain = 0.0
                if i > 0:
                    gain += affinity[route[i - 1], route[j]] - affinity[route[i - 1], route[i]]
                if j < size - 1:
                    gain += affinity[route[i], route[j + 1]] - affinity[route[j], route[j + 1]]
                if gain > smallest:
                    route[i : j + 1] = route[i : j + 1][::-1].copy()
                    moves += 1
                    improved = True
                    if moves >= max_moves:
                        return
