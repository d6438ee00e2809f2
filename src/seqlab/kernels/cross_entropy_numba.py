"""Kernels of the cross-entropy; a row of logits is one token."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from seqlab.kernels.jit import device, kernel
from seqlab.kernels.simd import (
    LANES,
    add,
    largest,
    load,
    load_part,
    maximum,
    mul,
    splat,
    store_part,
    sub,
    total,
)
from seqlab.kernels.simd_math import LOG2_E, exp2_nonpositive

_ZERO = np.float32(0.0)
_MINUS_INFINITY = np.float32(-np.inf)


@device
def _peak_and_log_sum(logits: Any, row: int) -> Any:
    """Return the largest logit m and log(sum(exp(logit - m))).

    They are kept apart: their sum would lose the digits of the loss where logits are large.
    """
    width = logits.shape[1]
    full = width - width % LANES
    peaks = splat(_MINUS_INFINITY)
    for column in range(0, full, LANES):
        peaks = maximum(peaks, load(logits, row, column))
    if full < width:
        tail = load_part(logits, row, full, width - full, _MINUS_INFINITY)
        peaks = maximum(peaks, tail)
    peak = largest(peaks)
    sums = splat(_ZERO)
    for column in range(0, full, LANES):
        shifted = sub(load(logits, row, column), splat(peak))
        sums = add(sums, exp2_nonpositive(mul(shifted, splat(LOG2_E))))
    if full < width:
        tail = load_part(logits, row, full, width - full, _MINUS_INFINITY)
        shifted = sub(tail, splat(peak))
        sums = add(sums, exp2_nonpositive(mul(shifted, splat(LOG2_E))))
    return peak, np.float32(np.log(total(sums)))


_MATRIX = "float32[:, :]"


@kernel(f"void({_MATRIX}, int64[:], {_MATRIX}, {_MATRIX})")
def forward(logits: Any, targets: Any, normaliser: Any, losses: Any) -> None:
    """Write what normalises each row and -log p(target); a negative target loses zero.

    Args:
        logits: Rows (tokens, vocabulary).
        targets: Token ids (tokens,), negative where ignored.
        normaliser: Rows (tokens, 2), written: see `_peak_and_log_sum`.
        losses: Rows (tokens, 1), written.
    """
    for row in prange(logits.shape[0]):
        peak, log_sum = _peak_and_log_sum(logits, row)
        normaliser[row, 0] = peak
        normaliser[row, 1] = log_sum
        target = targets[row]
        if target >= 0:
            losses[row, 0] = (peak - logits[row, target]) + log_sum
        else:
            losses[row, 0] = _ZERO


@device
def _backward_row(
    logits: Any, target: int, peak: Any, log_sum: Any, scale: Any, grad: Any, row: int
) -> None:
    width = logits.shape[1]
    for column in range(0, width, LANES):
        count = min(LANES, width - column)
        value = load_part(logits, row, column, count, _MINUS_INFINITY)
        # log_sum >= 0 and value <= peak: the exponent is not positive.
        exponent = sub(sub(value, splat(peak)), splat(log_sum))
        probability = exp2_nonpositive(mul(exponent, splat(LOG2_E)))
        store_part(grad, row, column, count, mul(probability, splat(scale)))
    grad[row, target] -= scale


@kernel(f"void({_MATRIX}, int64[:], {_MATRIX}, float64, {_MATRIX})")
def backward(logits: Any, targets: Any, normaliser: Any, scale: float, grad: Any) -> None:
    """Write scale * (softmax(logits) - onehot(target)), zero in ignored rows, to `grad`."""
    for row in prange(logits.shape[0]):
        if targets[row] >= 0:
            _backward_row(
                logits,
                targets[row],
                normaliser[row, 0],
                normaliser[row, 1],
                np.float32(scale),
                grad,
                row,
            )
        else:
            for column in range(logits.shape[1]):
                grad[row, column] = _ZERO
