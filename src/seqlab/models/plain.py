"""The plain form of a model: the same function in standard tensor operators only.

A compiler that takes a graph of operators knows none of our kernels. In the plain form every layer
of ours is replaced by one that such a compiler can read. Sparse layers become dense ones, zeros
included, and quantised weights are multiplied out once: what a compiler makes of a model that was
not written for its kernels.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.errors import UserError
from seqlab.kernels.conv_reference import reference_conv
from seqlab.kernels.scan_plain import plain_scan
from seqlab.models.mamba import MambaMixer, Projection, RMSNorm
from seqlab.models.quantize import QuantizedLinear
from seqlab.models.sparse_linear import SparseLinear

Model = TypeVar("Model", bound=nn.Module)


class PlainMixer(nn.Module):
    """The mixer of `MambaMixer` for whole sequences, with `plain_scan`."""

    def __init__(self, mixer: MambaMixer) -> None:
        super().__init__()
        self.in_proj, self.x_proj = mixer.in_proj, mixer.x_proj
        self.dt_proj, self.out_proj = mixer.dt_proj, mixer.out_proj
        self.conv1d, self.A_log, self.D = mixer.conv1d, mixer.A_log, mixer.D
        self.channel_gate = mixer.channel_gate

    def forward(
        self, hidden: Tensor, attention_mask: Tensor | None = None, state: object = None
    ) -> Tensor:
        """Mix (B, T, H) over time; see `MambaMixer.forward`.

        Raises:
            UserError: There is a state to continue from.
        """
        if state is not None:
            raise UserError("the plain form of a mixer cannot start from a state")
        inner, states = self.A_log.shape
        x, z = self.in_proj(_masked(hidden, attention_mask)).split(inner, -1)
        convolved = reference_conv(x, self.conv1d.weight[:, 0], self.conv1d.bias)
        u = _masked(functional.silu(convolved), attention_mask)
        if self.channel_gate is not None:
            u = self.channel_gate(u)
        selected = self.x_proj(u)
        step, b, c = selected.split([selected.shape[-1] - 2 * states, states, states], -1)
        y = plain_scan(u, self.dt_proj(step), -torch.exp(self.A_log), b, c, self.D, z)
        return self.out_proj(y)


def plain_copy(model: Model) -> Model:
    """Return a copy in evaluation mode that computes the same in standard operators only.

    Raises:
        UserError: A mixer shows its states to an observer, which the plain form has none of.
    """
    result = copy.deepcopy(model).eval().requires_grad_(False)
    # Children before parents: what replaces a parent takes over its children.
    for module in reversed(list(result.modules())):
        for name, child in list(module.named_children()):
            setattr(module, name, _plain(child))
    return result


def _plain(module: nn.Module) -> nn.Module:
    if isinstance(module, MambaMixer):
        if module.state_observer is not None:
            raise UserError("a mixer with a state observer has no plain form", fix="remove it")
        return PlainMixer(module)
    if isinstance(module, RMSNorm):
        norm = nn.RMSNorm(module.weight.shape[0], module.epsilon, device="meta")
        norm.weight = module.weight
        return norm
    if isinstance(module, QuantizedLinear):
        return _linear(module.dequantize(), module.bias)
    if isinstance(module, SparseLinear | Projection):
        return _linear(module.weight, module.bias)
    return module


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias is not None, device="meta")
    # The tensors themselves, so that tied weights stay tied.
    layer.weight = _parameter(weight)
    layer.bias = None if bias is None else _parameter(bias)  # type: ignore[assignment]
    return layer


def _parameter(tensor: Tensor) -> nn.Parameter:
    return tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)


def _masked(x: Tensor, attention_mask: Tensor | None) -> Tensor:
    return x if attention_mask is None else (x * attention_mask[..., None]).to(x.dtype)
