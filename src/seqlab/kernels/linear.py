"""Matrix products of linear layers on CPU through oneDNN.

PyTorch sends float32 products to MKL, which does not use the wide units of every CPU. oneDNN does;
it is reached through the operator that torch.compile uses for linear layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Multiplications below which setting oneDNN up costs more than it saves: about 40 us a product,
# measured on two Zen 4 cores, where the gain on larger ones is about a tenth (more on Zen 5).
_SMALLEST_PRODUCT = 1 << 24


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias, through oneDNN for float32 on CPU, else as PyTorch does.

    Args:
        x: Inputs (..., K).
        weight: Matrix (N, K).
        bias: Offsets (N,) or None.
    """
    if (
        x.numel() * weight.shape[0] < _SMALLEST_PRODUCT
        or x.dtype != torch.float32
        or weight.dtype != torch.float32
        or x.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
        or not torch.backends.mkldnn.is_available()
    ):
        return functional.linear(x, weight, bias)
    return _OneDnnLinear.apply(x, weight, bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        flat = grad_y.reshape(-1, grad_y.shape[-1])
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        grad_x = _product(grad_y, weight.t(), None) if wants_x else None
        # The product with tokens as the inner axis: MKL is the faster one here.
        grad_weight = flat.t().mm(x.reshape(-1, x.shape[-1])) if wants_weight else None
        grad_bias = flat.sum(0) if ctx.biased and wants_bias else None
        return grad_x, grad_weight, grad_bias
