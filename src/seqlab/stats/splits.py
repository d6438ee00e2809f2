"""Splits of pooled runs into two samples: all of them, or random ones where there are too many."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

# Up to so many are counted one by one.
_MOST = 200_000
_DRAWN = 20_000


def splits(size: int, chosen: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], bool]:
    """Return (S, size) which of the pooled runs are in the first sample, and whether all are there.

    Args:
        size: Runs of both samples.
        chosen: Runs of the first one.
        rng: Source of random splits.
    """
    if comb(size, chosen) > _MOST:
        order = np.argsort(rng.random((_DRAWN, size)), axis=1)
        return np.asarray(order < chosen), False
    return _every(size, chosen), True


@lru_cache(maxsize=4)
def _every(size: int, chosen: int) -> NDArray[np.bool_]:
    """Return all splits; kept, for every pair of architectures asks for the same ones."""
    groups = np.zeros((comb(size, chosen), size), dtype=bool)
    members = np.array([*combinations(range(size), chosen)], dtype=np.int64)
    np.put_along_axis(groups, members, True, axis=1)
    groups.setflags(write=False)
    return groups


def share_at_least(found: NDArray[np.float64], own: float, complete: bool, slack: float) -> float:
    """Return the p value: the share of splits whose statistic is as large as the own one.

    Args:
        found: (S,) statistics; NaN where a split has none.
        own: That of the data.
        complete: Whether all splits are there; of random ones the own is counted as one more.
        slack: What equal statistics differ by through rounding.
    """
    reached = int((found >= own - slack).sum())
    return reached / len(found) if complete else (reached + 1) / (len(found) + 1)
