"""Vectors of 16 single-precision lanes for numba kernels.

Numba vectorises no `exp` on a machine without a vector maths library, and LLVM's loop vectoriser
gives up on loops that carry a state. The operations here map one to one onto LLVM vector
instructions (AVX-512, AVX2, NEON: LLVM splits them as needed). `simd_python` says what each one
does, and takes over with `NUMBA_DISABLE_JIT=1`.

Arrays given to `load` and `store` are float32, two-dimensional, with unit stride in the last axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqlab.kernels.jit import JIT_DISABLED, device

LANES = 16

if TYPE_CHECKING or JIT_DISABLED:
    from seqlab.kernels.simd_python import (
        add,
        div,
        fma,
        largest,
        load,
        load_part,
        load_tile,
        maximum,
        mul,
        prefetch,
        scale_by_exponent_bits,
        splat,
        store,
        store_part,
        store_tile,
        sub,
        total,
        where_negative,
    )
else:
    from seqlab.kernels.simd_lowering import (
        add,
        div,
        fma,
        largest,
        load,
        load_part,
        load_tile,
        maximum,
        mul,
        prefetch,
        scale_by_exponent_bits,
        splat,
        store,
        store_part,
        store_tile,
        sub,
        total,
        where_negative,
    )


@device
def aligned_tiles(count: int) -> Any:
    """Return an uninitialised array (count, 16) whose rows each fill one cache line of 64 bytes.

    A vector that straddles two lines costs two accesses.
    """
    memory = np.empty((count + 1) * LANES, np.float32)
    shift = (-memory.ctypes.data % 64) // 4
    return memory[shift : shift + count * LANES].reshape((count, LANES))


@device
def store_four(array: Any, row: int, column: int, v0: Any, v1: Any, v2: Any, v3: Any) -> None:
    """Write four vectors side by side to `array[row, column : column + 64]`."""
    store(array, row, column, v0)
    store(array, row, column + LANES, v1)
    store(array, row, column + 2 * LANES, v2)
    store(array, row, column + 3 * LANES, v3)


__all__ = [
    "LANES",
    "add",
    "aligned_tiles",
    "div",
    "fma",
    "largest",
    "load",
    "load_part",
    "load_tile",
    "maximum",
    "mul",
    "prefetch",
    "scale_by_exponent_bits",
    "splat",
    "store",
    "store_four",
    "store_part",
    "store_tile",
    "sub",
    "total",
    "where_negative",
]
