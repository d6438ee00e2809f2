"""Digests of many values at once, whatever their order."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True)
def multiset_sums(bits: npt.NDArray[np.unsignedinteger]) -> tuple[np.uint64, np.uint64]:
    """Return sum and exclusive or of values (N,), each mixed by the finaliser of SplitMix64.

    Source: Steele, Lea and Flood 2014. Sums are modulo 2^64.
    """
    total, xored = np.uint64(0), np.uint64(0)
    for value in bits:
        mixed = np.uint64(value)
        mixed ^= mixed >> np.uint64(30)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
        mixed *= np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        total += mixed
        xored ^= mixed
    return total, xored
