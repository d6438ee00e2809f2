"""Kernels of the root-mean-square normalisation; a task is a fixed number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from seqlab.kernels.jit import device, kernel
from seqlab.kernels.simd import (
    LANES,
    fma,
    load_part,
    load_tile,
    mul,
    splat,
    store_part,
    store_tile,
    sub,
    total,
)

ROWS_PER_TASK = 32
_ZERO = np.float32(0.0)


@device
def _forward_row(x: Any, scale: Any, epsilon: float, y: Any, inverse: Any, row: int) -> None:
    width = x.shape[1]
    squares = splat(_ZERO)
    for column in range(0, width, LANES):
        value = load_part(x, row, column, min(LANES, width - column), _ZERO)
        squares = fma(value, value, squares)
    mean = total(squares) / np.float32(width)
    r = np.float32(1.0 / np.sqrt(mean + epsilon))
    inverse[row, 0] = r
    for block in range(scale.shape[0]):
        column = block * LANES
        count = min(LANES, width - column)
        value = mul(load_part(x, row, column, count, _ZERO), splat(r))
        store_part(y, row, column, count, mul(value, load_tile(scale, block)))


_MATRIX = "float32[:, :]"


@kernel(f"void({_MATRIX}, {_MATRIX}, float64, {_MATRIX}, {_MATRIX})")
def norm_forward(x: Any, scale: Any, epsilon: float, y: Any, inverse: Any) -> None:
    """Write scale * x * r to `y` and r = 1 / sqrt(mean(x^2) + epsilon) to `inverse` (rows, 1).

    `x` and `y` are rows (tokens, width); `scale` is tiles (blocks, 16).
    """
    tokens = x.shape[0]
    for task in prange((tokens + ROWS_PER_TASK - 1) // ROWS_PER_TASK):
        for row in range(task * ROWS_PER_TASK, min((task + 1) * ROWS_PER_TASK, tokens)):
            _forward_row(x, scale, epsilon, y, inverse, row)


@device
def _backward_row(
    x: Any, scale: Any, r: Any, grad_y: Any, grad_x: Any, grad_scale: Any, first: int, row: int
) -> None:
    """Write dx = r (w dy - x r^2 mean(w dy x)); add dw = dy x r to the tiles from `first` on."""
    width = x.shape[1]
    dot = splat(_ZERO)
    for block in range(scale.shape[0]):
        column = block * LANES
        count = min(LANES, width - column)
        value = load_part(x, row, column, count, _ZERO)
        grad = load_part(grad_y, row, column, count, _ZERO)
        dot = fma(mul(grad, load_tile(scale, block)), value, dot)
        total_scale = fma(mul(grad, value), splat(r), load_tile(grad_scale, first + block))
        store_tile(grad_scale, first + block, total_scale)
    shrink = splat(r * r * total(dot) / np.float32(width))
    for block in range(scale.shape[0]):
        column = block * LANES
        count = min(LANES, width - column)
        value = load_part(x, row, column, count, _ZERO)
        grad = load_part(grad_y, row, column, count, _ZERO)
        difference = sub(mul(grad, load_tile(scale, block)), mul(value, shrink))
        store_part(grad_x, row, column, count, mul(splat(r), difference))


@kernel(f"void({', '.join([_MATRIX] * 6)})")
def norm_backward(
    x: Any, scale: Any, inverse: Any, grad_y: Any, grad_x: Any, grad_scale: Any
) -> None:
    """Write the gradient of `x`; add that of `scale` to `grad_scale` (tasks * blocks, 16)."""
    tokens = x.shape[0]
    for task in prange((tokens + ROWS_PER_TASK - 1) // ROWS_PER_TASK):
        for row in range(task * ROWS_PER_TASK, min((task + 1) * ROWS_PER_TASK, tokens)):
            _backward_row(
                x, scale, inverse[row, 0], grad_y, grad_x, grad_scale, task * scale.shape[0], row
            )
