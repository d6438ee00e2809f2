"""Exponential, logistic function and softplus on 16 single-precision lanes."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlab.kernels.jit import device
from seqlab.kernels.simd import (
    add,
    div,
    fma,
    maximum,
    mul,
    scale_by_exponent_bits,
    splat,
    sub,
    where_negative,
)

LOG2_E = np.float32(1.4426950408889634)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)
_TWO = np.float32(2.0)
_NEGATIVE_ONE = np.float32(-1.0)
# Below this the result would be subnormal; 2**-126 is as good as zero for every caller.
_SMALLEST_EXPONENT = np.float32(-126.0)
# Adding 1.5 * 2**23 leaves the nearest integer in the low bits of the mantissa.
_ROUND_SHIFT = np.float32(12582912.0)
# Taylor coefficients ln(2)**k / k! of 2**f: truncation error below 2e-9 for |f| <= 1/2.
_C1 = np.float32(0.6931471805599453)
_C2 = np.float32(0.2402265069591007)
_C3 = np.float32(0.05550410866482158)
_C4 = np.float32(0.009618129107628477)
_C5 = np.float32(0.0013333558146428443)
_C6 = np.float32(0.0001540353039338161)
# Coefficients 1 / (2k + 1) of atanh(s) = s (1 + s^2/3 + ...): error below 2e-9 for s <= 1/3.
_L1 = np.float32(1 / 3)
_L2 = np.float32(1 / 5)
_L3 = np.float32(1 / 7)
_L4 = np.float32(1 / 9)
_L5 = np.float32(1 / 11)
_L6 = np.float32(1 / 13)
_L7 = np.float32(1 / 15)


@device
def exp2_nonpositive(x: Any) -> Any:
    """Return 2**x for x <= 0 (relative error about 1e-7; NaN stays NaN)."""
    x = maximum(splat(_SMALLEST_EXPONENT), x)
    shifted = add(x, splat(_ROUND_SHIFT))
    fraction = sub(x, sub(shifted, splat(_ROUND_SHIFT)))
    value = fma(fraction, splat(_C6), splat(_C5))
    value = fma(fraction, value, splat(_C4))
    value = fma(fraction, value, splat(_C3))
    value = fma(fraction, value, splat(_C2))
    value = fma(fraction, value, splat(_C1))
    value = fma(fraction, value, splat(_ONE))
    return scale_by_exponent_bits(value, shifted)


@device
def exp_minus_abs(x: Any) -> Any:
    """Return exp(-|x|), from which `sigmoid_of` and `softplus_of` continue."""
    negative_abs = where_negative(x, x, mul(x, splat(_NEGATIVE_ONE)))
    return exp2_nonpositive(mul(negative_abs, splat(LOG2_E)))


@device
def sigmoid_of(x: Any, e: Any) -> Any:
    """Return 1 / (1 + exp(-x)), given `e = exp_minus_abs(x)`; accurate in both tails."""
    inverse = div(splat(_ONE), add(splat(_ONE), e))
    return where_negative(x, mul(e, inverse), inverse)


@device
def softplus_of(x: Any, e: Any) -> Any:
    """Return log(1 + exp(x)) = max(x, 0) + log1p(e), given `e = exp_minus_abs(x)`."""
    s = div(e, add(splat(_TWO), e))
    square = mul(s, s)
    series = fma(square, splat(_L7), splat(_L6))
    series = fma(square, series, splat(_L5))
    series = fma(square, series, splat(_L4))
    series = fma(square, series, splat(_L3))
    series = fma(square, series, splat(_L2))
    series = fma(square, series, splat(_L1))
    series = fma(square, series, splat(_ONE))
    return fma(mul(splat(_TWO), s), series, maximum(splat(_ZERO), x))
