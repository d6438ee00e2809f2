"""K5: product of fp32 activations with a group-quantised int8 or int4 weight.

A weight of O outputs and I inputs is stored column by column, outputs contiguous, so that the
output index fills the vector lanes: no horizontal sums, no shuffles, any O. Columns stand in the
order in which they were quantised, in groups of `group` columns that share one scale per output;
`order[j]` says which input the j-th stored column reads. The index is always followed, the identity
included: two column orders run the same instructions on the same bytes and differ in index values.

Storage (`pack_codes`): int8 `(rows, O)`; each group is padded with zero columns to a multiple of 8,
so that no loop over columns has a tail. With 8 bits a row is one column; with 4 bits a row holds
two neighbouring columns, the first in the low nibble, both two's complement.

A few rows of activations (decode steps) take a matrix-vector kernel; more rows (a prefill) expand
the weight to fp32 and call the BLAS of torch; oneDNN (`seqlab.kernels.linear`) was slower on a
weight that is new at every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

from seqlab.errors import UserError

BACKENDS = ("numba", "torch")
COLUMNS_PER_STEP = 8
# Measured: repeated matrix-vector products beat expanding the weight up to this many rows.
GEMV_ROWS = 8
# No reductions are reassociated; contraction to fused multiply-adds is all that is asked for.
_FASTMATH = {"contract", "nsz"}


@njit(cache=True, fastmath=_FASTMATH)
def _gather(x: Any, order: Any, group: int, padded: int, gathered: Any) -> None:
    """Copy `x[order]` into groups of `padded` entries; the padding keeps its zeros."""
    for j in range(order.shape[0]):
        gathered[j // group * padded + j % group] = x[order[j]]


@njit(cache=True, fastmath=_FASTMATH)
def _gemv_int8(codes: Any, scales: Any, order: Any, group: int, x: Any, out: Any) -> None:
    """Add the product of each row of `x (T, I)` to the same row of `out (T, O)`."""
    n_groups, n_out = scales.shape
    padded = codes.shape[0] // n_groups
    gathered = np.zeros(codes.shape[0], np.float32)
    for t in range(x.shape[0]):
        _gather(x[t], order, group, padded, gathered)
        row = out[t]
        for j in range(0, codes.shape[0], 8):
            x0, x1, x2, x3 = gathered[j], gathered[j + 1], gathered[j + 2], gathered[j + 3]
            x4, x5, x6, x7 = gathered[j + 4], gathered[j + 5], gathered[j + 6], gathered[j + 7]
            c0, c1, c2, c3 = codes[j], codes[j + 1], codes[j + 2], codes[j + 3]
            c4, c5, c6, c7 = codes[j + 4], codes[j + 5], codes[j + 6], codes[j + 7]
            scale = scales[j // padded]
            for r in range(n_out):
                part = np.float32(c0[r]) * x0
                part += np.float32(c1[r]) * x1
                part += np.float32(c2[r]) * x2
                part += np.float32(c3[r]) * x3
                part += np.float32(c4[r]) * x4
                part += np.float32(c5[r]) * x5
                part += np.float32(c6[r]) * x6
                part += np.float32(c7[r]) * x7
                row[r] += scale[r] * part


@njit(cache=True)
def _low(byte: Any) -> Any:
    """Return the low nibble, sign-extended; numba widens shifts, the casts keep 32-bit lanes."""
    return np.int32(np.int32(np.int32(byte) << np.int32(28)) >> np.int32(28))


@njit(cache=True)
def _high(byte: Any) -> Any:
    """Return the high nibble, sign-extended."""
    return np.int32(np.int32(byte) >> np.int32(4))


@njit(cache=True, fastmath=_FASTMATH)
def _gemv_int4(codes: Any, scales: Any, order: Any, group: int, x: Any, out: Any) -> None:
    """As `_gemv_int8`, two columns in each byte."""
    n_groups, n_out = scales.shape
    pairs = codes.shape[0] // n_groups
    gathered = np.zeros(2 * codes.shape[0], np.float32)
    for t in range(x.shape[0]):
        _gather(x[t], order, group, 2 * pairs, gathered)
        row = out[t]
        for k in range(0, codes.shape[0], 4):
            j = 2 * k
            x0, x1, x2, x3 = gathered[j], gathered[j + 1], gathered[j + 2], gathered[j + 3]
            x4, x5, x6, x7 = gathered[j + 4], gathered[j + 5], gathered[j + 6], gathered[j + 7]
            c0, c1, c2, c3 = codes[k], codes[k + 1], codes[k + 2], codes[k + 3]
            scale = scales[k // pairs]
            for r in range(n_out):
                part = np.float32(_low(c0[r])) * x0
                part += np.float32(_high(c0[r])) * x1
                part += np.float32(_low(c1[r])) * x2
                part += np.float32(_high(c1[r])) * x3
                part += np.float32(_low(c2[r])) * x4
                part += np.float32(_high(c2[r])) * x5
                part += np.float32(_low(c3[r])) * x6
                part += np.float32(_high(c3[r])) * x7
                row[r] += scale[r] * part


@njit(cache=True, fastmath=_FASTMATH)
def _expand_int8(codes: Any, scales: Any, order: Any, group: int, out: Any) -> None:
    """Write the fp32 weight to `out (I, O)`: stored column j becomes row `order[j]`."""
    padded = codes.shape[0] // scales.shape[0]
    for j in range(order.shape[0]):
        code, scale = codes[j // group * padded + j % group], scales[j // group]
        row = out[order[j]]
        for r in range(row.shape[0]):
            row[r] = np.float32(code[r]) * scale[r]


@njit(cache=True, fastmath=_FASTMATH)
def _expand_int4(codes: Any, scales: Any, order: Any, group: int, out: Any) -> None:
    """As `_expand_int8`; the parity of a column's place in its group decides on the nibble."""
    pairs = codes.shape[0] // scales.shape[0]
    for j in range(order.shape[0]):
        place = j % group
        code, scale = codes[j // group * pairs + place // 2], scales[j // group]
        row = out[order[j]]
        if place % 2:
            for r in range(row.shape[0]):
                row[r] = np.float32(_high(code[r])) * scale[r]
        else:
            for r in range(row.shape[0]):
                row[r] = np.float32(_low(code[r])) * scale[r]


_GEMV: dict[int, Any] = {8: _gemv_int8, 4: _gemv_int4}
_EXPAND: dict[int, Any] = {8: _expand_int8, 4: _expand_int4}


def pack_codes(codes: Tensor, *, bits: int, group: int) -> Tensor:
    """Lay codes out for the kernels (see the module docstring).

    Args:
        codes: `(O, I)` int8; with 4 bits within [-8, 7]. I is a multiple of `group`.
        bits: 8 or 4.
        group: Columns that share a scale.

    Returns:
        `(G * padded * bits / 8, O)` int8, contiguous; `padded` is `group` rounded up to 8.
    """
    n_out, n_in = codes.shape
    n_groups, padded = n_in // group, -(-group // COLUMNS_PER_STEP) * COLUMNS_PER_STEP
    columns = codes.new_zeros(n_groups, padded, n_out)
    columns[:, :group] = codes.t().reshape(n_groups, group, n_out)
    columns = columns.reshape(n_groups * padded, n_out)
    if bits == 4:
        columns = (columns[0::2] & 15) | (columns[1::2] << 4)
    return columns.contiguous()


def unpack_codes(packed: Tensor, *, bits: int, group: int, n_groups: int) -> Tensor:
    """Undo `pack_codes`: `(O, n_groups * group)` int8, columns in their stored order."""
    n_out = packed.shape[1]
    if bits == 4:
        low, high = (packed << 4) >> 4, packed >> 4
        packed = torch.stack((low, high), dim=1).reshape(-1, n_out)
    columns = packed.reshape(n_groups, -1, n_out)[:, :group]
    return columns.reshape(n_groups * group, n_out).t().contiguous()


@dataclass(frozen=True)
class PackedWeight:
    """A quantised weight of O outputs and I inputs as the kernels read it.

    Attributes:
        codes: See `pack_codes`.
        scales: `(G, O)` fp32, one scale per group and output.
        order: `(I,)` int64, a permutation: the input that each stored column reads.
        bits: 8 or 4.
        group: Columns per group, I = G * group.
    """

    codes: Tensor
    scales: Tensor
    order: Tensor
    bits: int
    group: int

    @cached_property
    def arrays(self) -> tuple[Any, ...]:
        """Codes, scales, order as NumPy views and the group: the first arguments of a kernel."""
        return self.codes.numpy(), self.scales.numpy(), self.order.numpy(), self.group

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles start without the views, which would not follow the new tensors.
        return PackedWeight, (self.codes, self.scales, self.order, self.bits, self.group)

    def expand(self, dtype: torch.dtype) -> Tensor:
        """Return the weight `(I, O)` (transposed) in `dtype`, columns where `order` puts them.

        Plain torch on the device of the codes; `code * scale` is rounded once, in `dtype`.
        """
        n_groups = self.scales.shape[0]
        codes = unpack_codes(self.codes, bits=self.bits, group=self.group, n_groups=n_groups)
        scales = self.scales.to(dtype).repeat_interleave(self.group, dim=0)
        weight = torch.empty_like(scales)
        weight[self.order] = codes.t().to(dtype) * scales
        return weight


def quantized_linear(
    x: Tensor, weight: PackedWeight, bias: Tensor | None = None, *, backend: str = "numba"
) -> Tensor:
    """Multiply activations by a quantised weight.

    Args:
        x: Activations `(..., I)`; fp32 on the CPU for "numba", any float type for "torch".
        weight: The quantised weight, on the device of `x`.
        bias: `(O,)` or None.
        backend: "numba" (CPU kernels of this module; matrix-vector products on one thread, others
            on the threads of torch) or "torch" (expand on the device of `x`, then multiply there).

    Returns:
        `(..., O)` in the type of `x`.

    Raises:
        UserError: Unknown backend, or activations the numba kernels cannot take.
    """
    if backend == "numba":
        _require_kernel_input(x)
        return _multiply_numba(x.detach() if x.requires_grad else x, weight, bias)
    if backend == "torch":
        return functional.linear(x, weight.expand(x.dtype).t(), bias)
    raise UserError(
        f"unknown backend {backend!r} of the quantised product",
        fix=f"use one of {', '.join(BACKENDS)}",
    )


def _multiply_numba(x: Tensor, weight: PackedWeight, bias: Tensor | None) -> Tensor:
    n_in, n_out = weight.order.shape[0], weight.scales.shape[1]
    if x.numel() > GEMV_ROWS * n_in:
        dense = torch.empty(n_in, n_out)
        _EXPAND[weight.bits](*weight.arrays, dense.numpy())
        return functional.linear(x, dense.t(), bias)
    # NumPy to the end: at this size a torch call costs as much as a tenth of the product.
    rows = np.ascontiguousarray(x.numpy().reshape(-1, n_in))
    product = np.zeros((rows.shape[0], n_out), np.float32)
    if bias is not None:
        product += bias.detach().numpy()
    _GEMV[weight.bits](*weight.arrays, rows, product)
    return torch.from_numpy(product.reshape(*x.shape[:-1], n_out))


def _require_kernel_input(x: Tensor) -> None:
    if x.dtype is not torch.float32 or not x.is_cpu:
        raise UserError(
            f"the numba backend takes fp32 on the CPU, not {x.dtype} on {x.device.type}",
            where="quantised product",
            fix='use the backend "torch"',
        )
    if x.requires_grad and torch.is_grad_enabled():
        raise UserError(
            "the numba backend has no gradient",
            where="quantised product",
            fix="run the model under torch.inference_mode()",
        )
