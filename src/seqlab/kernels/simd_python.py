"""The vector operations of `seqlab.kernels.simd` on NumPy arrays of 16 elements.

They run where compilation is off (`NUMBA_DISABLE_JIT=1`), and say what each operation does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LANES = 16


def load(array: Any, row: int, column: int) -> Any:
    """Return `array[row, column : column + 16]`."""
    return array[row, column : column + LANES].copy()


def load_tile(array: Any, row: int) -> Any:
    """Return one row of contiguous tiles (n, 16)."""
    return array[row].copy()


def store_tile(array: Any, row: int, value: Any) -> None:
    """Write one row of contiguous tiles (n, 16)."""
    array[row] = value


def load_part(array: Any, row: int, column: int, count: int, fill: Any) -> Any:
    """Return the first `count` (1 to 16) lanes from memory and `fill` in the others."""
    value = np.full(LANES, fill, np.float32)
    value[:count] = array[row, column : column + count]
    return value


def store(array: Any, row: int, column: int, value: Any) -> None:
    """Write `value` to `array[row, column : column + 16]`."""
    array[row, column : column + LANES] = value


def store_part(array: Any, row: int, column: int, count: int, value: Any) -> None:
    """Write the first `count` (1 to 16) lanes of `value`."""
    array[row, column : column + count] = value[:count]


def prefetch(array: Any, row: int, column: int) -> None:
    """Hint that the line at `array[row, column]`, which may lie outside, is wanted soon."""


def splat(scalar: Any) -> Any:
    """Return a vector with `scalar` in every lane."""
    return np.full(LANES, scalar, np.float32)


def add(a: Any, b: Any) -> Any:
    """Return `a + b`."""
    return a + b


def sub(a: Any, b: Any) -> Any:
    """Return `a - b`."""
    return a - b


def mul(a: Any, b: Any) -> Any:
    """Return `a * b`."""
    return a * b


def div(a: Any, b: Any) -> Any:
    """Return `a / b`."""
    return a / b


def fma(a: Any, b: Any, c: Any) -> Any:
    """Return `a * b + c`, rounded once where the machine has the instruction."""
    return a * b + c


def maximum(a: Any, b: Any) -> Any:
    """Return `a` where it is greater, else `b`; a NaN in `b` stays."""
    return np.where(a > b, a, b)


def where_negative(test: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where `test < 0`, else `no`."""
    return np.where(test < 0, yes, no)


def scale_by_exponent_bits(value: Any, shifted: Any) -> Any:
    """Return `value` times two to the integer held in the low mantissa bits of `shifted`."""
    with np.errstate(over="ignore"):
        bits = value.view(np.int32) + (shifted.view(np.int32) << 23)
    return bits.view(np.float32)


def total(value: Any) -> Any:
    """Return the sum of all lanes."""
    return value.sum(dtype=np.float32)


def largest(value: Any) -> Any:
    """Return the largest lane."""
    return value.max()
