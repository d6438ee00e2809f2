"""Product of a few rows with one panel of a packed weight, for numba kernels.

A panel holds 64 outputs of a weight, one row of 64 for every input, so that it is read as one
stream. Four rows of x at a time share what is loaded: 16 sums in registers, four loads for 16
multiplications. One row alone runs at the speed of the memory.
"""

from __future__ import annotations

from typing import Any

from seqlab.kernels.jit import device
from seqlab.kernels.simd import fma, load, splat, store_four


@device
def _product_of_four(
    x: Any, x_row: int, x_col: int, depth: int, w: Any, w_row: int, out: Any, o_row: int, o_col: int
) -> None:
    """Add the products of four rows of x with one panel to four rows of `out`."""
    a0, a1 = load(out, o_row, o_col), load(out, o_row, o_col + 16)
    a2, a3 = load(out, o_row, o_col + 32), load(out, o_row, o_col + 48)
    b0, b1 = load(out, o_row + 1, o_col), load(out, o_row + 1, o_col + 16)
    b2, b3 = load(out, o_row + 1, o_col + 32), load(out, o_row + 1, o_col + 48)
    c0, c1 = load(out, o_row + 2, o_col), load(out, o_row + 2, o_col + 16)
    c2, c3 = load(out, o_row + 2, o_col + 32), load(out, o_row + 2, o_col + 48)
    d0, d1 = load(out, o_row + 3, o_col), load(out, o_row + 3, o_col + 16)
    d2, d3 = load(out, o_row + 3, o_col + 32), load(out, o_row + 3, o_col + 48)
    for k in range(depth):
        w0, w1 = load(w, w_row + k, 0), load(w, w_row + k, 16)
        w2, w3 = load(w, w_row + k, 32), load(w, w_row + k, 48)
        value = splat(x[x_row, x_col + k])
        a0, a1 = fma(value, w0, a0), fma(value, w1, a1)
        a2, a3 = fma(value, w2, a2), fma(value, w3, a3)
        value = splat(x[x_row + 1, x_col + k])
        b0, b1 = fma(value, w0, b0), fma(value, w1, b1)
        b2, b3 = fma(value, w2, b2), fma(value, w3, b3)
        value = splat(x[x_row + 2, x_col + k])
        c0, c1 = fma(value, w0, c0), fma(value, w1, c1)
        c2, c3 = fma(value, w2, c2), fma(value, w3, c3)
        value = splat(x[x_row + 3, x_col + k])
        d0, d1 = fma(value, w0, d0), fma(value, w1, d1)
        d2, d3 = fma(value, w2, d2), fma(value, w3, d3)
    store_four(out, o_row, o_col, a0, a1, a2, a3)
    store_four(out, o_row + 1, o_col, b0, b1, b2, b3)
    store_four(out, o_row + 2, o_col, c0, c1, c2, c3)
    store_four(out, o_row + 3, o_col, d0, d1, d2, d3)


@device
def _product_of_one(
    x: Any, x_row: int, x_col: int, depth: int, w: Any, w_row: int, out: Any, o_row: int, o_col: int
) -> None:
    """Add the product of one row of x with one panel to one row of `out`."""
    a0, a1 = load(out, o_row, o_col), load(out, o_row, o_col + 16)
    a2, a3 = load(out, o_row, o_col + 32), load(out, o_row, o_col + 48)
    for k in range(depth):
        value = splat(x[x_row, x_col + k])
        a0 = fma(value, load(w, w_row + k, 0), a0)
        a1 = fma(value, load(w, w_row + k, 16), a1)
        a2 = fma(value, load(w, w_row + k, 32), a2)
        a3 = fma(value, load(w, w_row + k, 48), a3)
    store_four(out, o_row, o_col, a0, a1, a2, a3)


@device
def panel_product(
    x: Any,
    x_row: int,
    x_col: int,
    depth: int,
    w: Any,
    w_row: int,
    out: Any,
    o_row: int,
    o_col: int,
    rows: int,
) -> None:
    """Add x[x_row:, x_col : x_col + depth] @ panel to `rows` rows of `out`, 64 columns wide."""
    done = 0
    while done + 4 <= rows:
        _product_of_four(x, x_row + done, x_col, depth, w, w_row, out, o_row + done, o_col)
        done += 4
    while done < rows:
        _product_of_one(x, x_row + done, x_col, depth, w, w_row, out, o_row + done, o_col)
        done += 1
