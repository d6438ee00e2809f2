"""Kernel of rotary positions; a task is a fixed number of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from seqlab.kernels.jit import device, kernel
from seqlab.kernels.simd import LANES, fma, load_part, mul, store_part, sub

ROWS_PER_TASK = 64
_ZERO = np.float32(0.0)


@device
def _rotate_row(x: Any, cos: Any, sin: Any, y: Any, row: int) -> None:
    half, t = cos.shape[1], row % cos.shape[0]
    for head in range(0, x.shape[1], 2 * half):
        for column in range(0, half, LANES):
            count = min(LANES, half - column)
            first, second = head + column, head + half + column
            a, b = load_part(x, row, first, count, _ZERO), load_part(x, row, second, count, _ZERO)
            c, s = load_part(cos, t, column, count, _ZERO), load_part(sin, t, column, count, _ZERO)
            store_part(y, row, first, count, sub(mul(a, c), mul(b, s)))
            store_part(y, row, second, count, fma(a, s, mul(b, c)))


_MATRIX = "float32[:, :]"


@kernel(f"void({_MATRIX}, {_MATRIX}, {_MATRIX}, {_MATRIX})")
def rotate(x: Any, cos: Any, sin: Any, y: Any) -> None:
    """Write rows of heads (B T, H K), rotated by angles (T, K / 2), to `y`."""
    tokens = x.shape[0]
    for task in prange((tokens + ROWS_PER_TASK - 1) // ROWS_PER_TASK):
        for row in range(task * ROWS_PER_TASK, min((task + 1) * ROWS_PER_TASK, tokens)):
            _rotate_row(x, cos, sin, y, row)
