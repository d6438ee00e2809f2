"""Kernels of the causal convolution with SiLU: 16 channels in the lanes, tokens in order.

A task is one sequence and `_GROUP` blocks of 16 channels. Within it tokens come first and blocks
second, so that memory is read in runs; the earlier tokens of the filter are still in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from seqlab.kernels.jit import device, kernel
from seqlab.kernels.simd import (
    LANES,
    add,
    fma,
    load_part,
    load_tile,
    mul,
    prefetch,
    splat,
    store_part,
    store_tile,
    sub,
)
from seqlab.kernels.simd_math import exp_minus_abs, sigmoid_of

_GROUP = 8
# Rows of a slice are too far apart for hardware to fetch the next ones early.
_AHEAD = 4
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@device
def _before_silu(
    x: Any, taps: Any, offset: Any, width: int, blocks: int, block: int, base: int, row: int
) -> Any:
    """Return bias + sum_k w_k x[row - width + 1 + k] of one block; rows before `base` are zero."""
    column = block * LANES
    count = min(LANES, x.shape[1] - column)
    value = load_tile(offset, block)
    for k in range(max(0, base - (row - width + 1)), width):
        inputs = load_part(x, row - width + 1 + k, column, count, _ZERO)
        value = fma(inputs, load_tile(taps, k * blocks + block), value)
    return value


@device
def _forward_task(
    x: Any,
    taps: Any,
    offset: Any,
    y: Any,
    width: int,
    blocks: int,
    base: int,
    tokens: int,
    group: int,
) -> None:
    for row in range(base, base + tokens):
        for block in range(group * _GROUP, min((group + 1) * _GROUP, blocks)):
            prefetch(x, row + _AHEAD, block * LANES)
            prefetch(y, row + _AHEAD, block * LANES)
            value = _before_silu(x, taps, offset, width, blocks, block, base, row)
            count = min(LANES, x.shape[1] - block * LANES)
            result = mul(value, sigmoid_of(value, exp_minus_abs(value)))
            store_part(y, row, block * LANES, count, result)


_MATRIX = "float32[:, :]"


@kernel(f"void({', '.join([_MATRIX] * 4)}, int64)")
def conv_forward(x: Any, taps: Any, offset: Any, y: Any, tokens: int) -> None:
    """Write silu(conv(x) + bias) to `y`.

    Args:
        x: Rows (batch * tokens, channels).
        taps: Tiles (width * blocks, 16), the filter's first (oldest) tap first.
        offset: Tiles (blocks, 16).
        y: Rows, written.
        tokens: Length of each sequence.
    """
    blocks = offset.shape[0]
    width = taps.shape[0] // blocks
    groups = (blocks + _GROUP - 1) // _GROUP
    for task in prange(x.shape[0] // tokens * groups):
        _forward_task(
            x, taps, offset, y, width, blocks, task // groups * tokens, tokens, task % groups
        )


@device
def _backward_task(
    x: Any,
    taps: Any,
    offset: Any,
    grad_y: Any,
    grad_x: Any,
    grad_taps: Any,
    grad_offset: Any,
    width: int,
    blocks: int,
    sequence: int,
    tokens: int,
    group: int,
) -> None:
    """Go from the last token to the first; `ring` holds the last `width` gradients before SiLU."""
    base = sequence * tokens
    ring = np.zeros((width * _GROUP, LANES), np.float32)
    for row in range(base + tokens - 1, base - 1, -1):
        for block in range(group * _GROUP, min((group + 1) * _GROUP, blocks)):
            column = block * LANES
            count = min(LANES, x.shape[1] - column)
            local = block - group * _GROUP
            prefetch(x, row - width - _AHEAD, column)
            prefetch(grad_y, row - _AHEAD, column)
            prefetch(grad_x, row - _AHEAD, column)
            value = _before_silu(x, taps, offset, width, blocks, block, base, row)
            s = sigmoid_of(value, exp_minus_abs(value))
            slope = mul(s, fma(value, sub(splat(_ONE), s), splat(_ONE)))
            grad = mul(slope, load_part(grad_y, row, column, count, _ZERO))
            store_tile(ring, (row - base) % width * _GROUP + local, grad)
            tile = sequence * blocks + block
            store_tile(grad_offset, tile, add(grad, load_tile(grad_offset, tile)))
            for k in range(max(0, base - (row - width + 1)), width):
                inputs = load_part(x, row - width + 1 + k, column, count, _ZERO)
                tap = (sequence * width + k) * blocks + block
                store_tile(grad_taps, tap, fma(grad, inputs, load_tile(grad_taps, tap)))
            through = splat(_ZERO)
            # Token row + j reads this one through tap width - 1 - j.
            for j in range(min(width, base + tokens - row)):
                later = load_tile(ring, (row + j - base) % width * _GROUP + local)
                tap_tile = load_tile(taps, (width - 1 - j) * blocks + block)
                through = fma(later, tap_tile, through)
            store_part(grad_x, row, column, count, through)


@kernel(f"void({', '.join([_MATRIX] * 7)}, int64)")
def conv_backward(
    x: Any,
    taps: Any,
    offset: Any,
    grad_y: Any,
    grad_x: Any,
    grad_taps: Any,
    grad_offset: Any,
    tokens: int,
) -> None:
    """Compute the gradients of `conv_forward`.

    Args:
        x, taps, offset, tokens: As in the forward.
        grad_y: Rows, the gradient of `y`.
        grad_x: Rows, written.
        grad_taps: Tiles (batch * width * blocks, 16), added to: the gradient of each sequence.
        grad_offset: Tiles (batch * blocks, 16), added to.
    """
    blocks = offset.shape[0]
    width = taps.shape[0] // blocks
    groups = (blocks + _GROUP - 1) // _GROUP
    for task in prange(x.shape[0] // tokens * groups):
        _backward_task(
            x,
            taps,
            offset,
            grad_y,
            grad_x,
            grad_taps,
            grad_offset,
            width,
            blocks,
            task // groups,
            tokens,
            task % groups,
        )
