"""Weight-only quantisation: symmetric, round to nearest, int8 or int4.

A scale is shared by the whole tensor (`per_tensor`), by an output row (`per_channel`), or by each
group of g consecutive inputs of a row (`group32`, `group64`, ...): s = max|w| / q_max with q_max =
127 (8 bits) or 7 (4 bits), code = round(w / s), halves to even, computed in fp32. All-zero groups,
and groups so small that s would be subnormal, have scale and codes 0.

Groups are those of the order in force when the weight was quantised. A later permutation moves
values, never changes them: codes stay in their groups and a column order says where each belongs.
Per-tensor and per-channel quantisation therefore commute with permutations of rows and columns bit
for bit; group-wise quantisation does not commute with permutations of the columns.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.kernels.quantized import BACKENDS, PackedWeight, pack_codes, quantized_linear
from seqlab.layout.permutation import Permutation

Model = TypeVar("Model", bound=nn.Module)

MAMBA_LINEARS = ("in_proj", "x_proj", "out_proj")
Q_MAX = {8: 127, 4: 7}
SIMULATED = "simulated"
_OUTPUTS, _INPUTS = 0, 1


@dataclass(frozen=True)
class QuantizedWeight:
    """A quantised weight of O outputs and I inputs.

    Attributes:
        codes: `(O, I)` int8; columns as they stood when the weight was quantised.
        scales: fp32, `(1, 1)` per tensor, `(O, 1)` per channel, `(O, I / group)` by group.
        scheme: As given to `quantize`.
        bits: 8 or 4.
        group: Inputs that share a scale within a row (I for per_tensor and per_channel).
        column_order: `(I,)` int64, current position of each stored column.
    """

    codes: Tensor
    scales: Tensor
    scheme: str
    bits: int
    group: int
    column_order: Tensor

    @property
    def group_index(self) -> Tensor:
        """`(I,)` int64: the group of each current column."""
        index = torch.empty_like(self.column_order)
        index[self.column_order] = torch.arange(index.numel()) // self.group
        return index

    def dequantize(self) -> Tensor:
        """Return the fp32 weight `(O, I)` in the current order, each entry fl(code * scale)."""
        stored = self.codes.float() * self.scales.repeat_interleave(self.group, dim=1)
        weight = torch.empty_like(stored)
        weight[:, self.column_order] = stored
        return weight

    def permute_inputs(self, permutation: Permutation) -> QuantizedWeight:
        """Return the weight with columns gathered, `W[:, pi]`; group membership travels along."""
        _check_length(permutation, self.codes.shape[1], "inputs")
        positions = torch.from_numpy(permutation.positions())
        return replace(self, column_order=positions[self.column_order])

    def permute_outputs(self, permutation: Permutation) -> QuantizedWeight:
        """Return the weight with rows gathered, `W[pi, :]`."""
        _check_length(permutation, self.codes.shape[0], "outputs")
        rows = torch.from_numpy(permutation.indices.copy())
        scales = self.scales if self.scales.shape[0] == 1 else self.scales[rows]
        return replace(self, codes=self.codes[rows], scales=scales)


def quantize(weight: Tensor, scheme: str, bits: int, *, name: str = "weight") -> QuantizedWeight:
    """Quantise a weight.

    Args:
        weight: `(O, I)` on any device, converted to fp32 first; the result is on the CPU.
        scheme: "per_tensor", "per_channel" or "group<g>", as in "group64".
        bits: 8 or 4.
        name: Of the layer, for messages.

    Raises:
        UserError: Unknown scheme or bits, a group that does not divide I, or non-finite weights.
    """
    weight = weight.detach().to("cpu", torch.float32)
    if bits not in Q_MAX:
        raise UserError(f"cannot quantise to {bits} bits", where=name, fix="use 8 or 4")
    if not torch.isfinite(weight).all():
        raise UserError("the weight holds NaN or infinity", where=name)
    n_out, n_in = weight.shape
    group = _group_size(scheme, n_in, name)
    grouped = weight.reshape(n_out, n_in // group, group)
    over = (0, 1, 2) if scheme == "per_tensor" else (2,)
    scales = grouped.abs().amax(dim=over, keepdim=True) / Q_MAX[bits]
    scales[scales < torch.finfo(torch.float32).tiny] = 0.0
    ratio = grouped / torch.where(scales > 0, scales, torch.inf)  # a zero scale gives code 0
    codes = ratio.round().clamp(-Q_MAX[bits], Q_MAX[bits]).to(torch.int8)
    order = torch.arange(n_in)
    return QuantizedWeight(
        codes.reshape(n_out, n_in), scales.squeeze(2), scheme, bits, group, order
    )


def _group_size(scheme: str, n_in: int, name: str) -> int:
    if scheme in ("per_tensor", "per_channel"):
        return n_in
    digits = scheme.removeprefix("group")
    if not scheme.startswith("group") or not digits.isdecimal() or int(digits) == 0:
        raise UserError(
            f"unknown quantisation scheme {scheme!r}",
            where=name,
            fix="use per_tensor, per_channel or group<g>, as in group64",
        )
    group = int(digits)
    if n_in % group:
        raise UserError(
            f"in_features = {n_in} is not a multiple of the group size {group}",
            where=name,
            fix=f"choose a group size that divides {n_in}, or per_channel",
        )
    return group


class QuantizedLinear(nn.Module):
    """A linear layer on a quantised weight, computed by kernel K5 (`seqlab.kernels.quantized`).

    Args:
        weight: The quantised weight, in any column order.
        bias: `(O,)` or None.
        backend: "numba" (fp32 on the CPU) or "torch" (any device and type).
    """

    codes: Tensor
    scales: Tensor
    order: Tensor
    bias: Tensor | None

    def __init__(
        self, weight: QuantizedWeight, bias: Tensor | None = None, *, backend: str = "numba"
    ) -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise UserError(
                f"unknown backend {backend!r} of a quantised linear",
                fix=f"use one of {', '.join(BACKENDS)}",
            )
        self.out_features, self.in_features = weight.codes.shape
        self.scheme, self.bits, self.group = weight.scheme, weight.bits, weight.group
        self.backend = backend
        self._packed: PackedWeight | None = None
        scales = weight.scales.expand(self.out_features, self.in_features // self.group)
        self.register_buffer("codes", pack_codes(weight.codes, bits=self.bits, group=self.group))
        # A clone: one scale per row is contiguous already, and permuting works in place.
        self.register_buffer("scales", scales.t().clone(memory_format=torch.contiguous_format))
        self.register_buffer("order", weight.column_order.clone())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return `x @ W.T + bias` for activations `(..., I)`."""
        return quantized_linear(x, self._packed_weight(), self.bias, backend=self.backend)

    def dequantize(self) -> Tensor:
        """Return the fp32 weight `(O, I)` in the current order."""
        return self._packed_weight().expand(torch.float32).t()

    def _packed_weight(self) -> PackedWeight:
        """Return the buffers bundled for the kernel; made anew when torch has replaced them."""
        packed, buffers = self._packed, self._buffers
        if (
            packed is None
            or packed.codes is not buffers["codes"]
            or packed.scales is not buffers["scales"]
            or packed.order is not buffers["order"]
        ):
            packed = PackedWeight(self.codes, self.scales, self.order, self.bits, self.group)
            self._packed = packed
        return packed

    def axis_length(self, tensor: str, axis: int) -> int:
        """Return the length of `weight` or `bias` along `axis`, for `seqlab.models.sites`."""
        return self.in_features if (tensor, axis) == ("weight", _INPUTS) else self.out_features

    def permute_axis(self, tensor: str, axis: int, index: Tensor) -> None:
        """Reorder in place as `tensor.index_select(axis, index)`; inputs move the index alone."""
        index = index.to(self.codes.device)
        if (tensor, axis) == ("weight", _INPUTS):
            self.order.copy_(torch.argsort(index)[self.order])
        elif (tensor, axis) == ("weight", _OUTPUTS):
            self.codes.copy_(self.codes[:, index])
            self.scales.copy_(self.scales[:, index])
        elif self.bias is not None:
            self.bias.copy_(self.bias[index])

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"scheme={self.scheme}, bits={self.bits}, backend={self.backend}"
        )


def quantize_model(
    model: Model,
    scheme: str,
    bits: int,
    *,
    layers: Sequence[str] = MAMBA_LINEARS,
    execution: str = SIMULATED,
) -> Model:
    """Return a copy of a model with the weights of some of its linear layers quantised.

    Args:
        model: Left as it is.
        scheme: See `quantize`.
        bits: 8 or 4.
        layers: Last parts of the module names to quantise. dt_proj, embeddings and the head stay.
        execution: "simulated" (dequantised weights in plain linears), or the backend of the real
            product, "numba" or "torch".

    Raises:
        UserError: A name in `layers` matches no linear layer, or a weight cannot be quantised.
    """
    result = copy.deepcopy(model)
    linears = {
        name: module
        for name, module in result.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in layers
    }
    unmatched = set(layers) - {name.rpartition(".")[2] for name in linears}
    if unmatched:
        raise UserError(
            f"no linear layer is named {', '.join(sorted(unmatched))}",
            where=type(model).__name__,
            fix="name the last part of module names, as in in_proj",
        )
    for name, linear in linears.items():
        weight = quantize(linear.weight, scheme, bits, name=name)
        if execution == SIMULATED:
            linear.weight.data.copy_(weight.dequantize())
        else:
            quantized = QuantizedLinear(weight, linear.bias, backend=execution)
            result.set_submodule(name, quantized.to(linear.weight.device))
    return result


def _check_length(permutation: Permutation, size: int, what: str) -> None:
    if len(permutation) != size:
        raise UserError(
            f"a permutation of {len(permutation)} elements cannot order {size} {what}",
            where="quantised weight",
        )
