"""Root-mean-square normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqlab.kernels.arrays import needs_grad, rows, tiles


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, backend: str) -> Tensor:
    """Return weight * x / sqrt(mean(x^2) + epsilon), the mean over the last axis.

    Statistics of half-precision inputs are taken in float32, as transformers does.

    Args:
        x: Inputs (..., H).
        weight: Scales (H,).
        epsilon: Added to the mean square.
        backend: "numba" runs the fused kernel on float32 CPU tensors; any other value, or another
            type or device, runs PyTorch operations.
    """
    if backend == "numba" and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu":
        if needs_grad(x, weight):
            return _FusedNorm.apply(x, weight, epsilon)
        return _forward(x, weight, epsilon)[0]
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    return weight * scaled.to(x.dtype)


def _forward(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the output and the reciprocal root mean square of each row (rows, 1)."""
    from seqlab.kernels import norm_numba
    from seqlab.kernels.jit import follow_torch_threads

    follow_torch_threads()
    y = torch.empty(x.shape)
    inverse = torch.empty(x.shape[:-1].numel(), 1)
    norm_numba.norm_forward(rows(x), rows(tiles(weight)), epsilon, rows(y), rows(inverse))
    return y, inverse


class _FusedNorm(torch.autograd.Function):
    """The numba kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        y, inverse = _forward(x, weight, epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, None]:
        from seqlab.kernels import norm_numba
        from seqlab.kernels.jit import follow_torch_threads

        follow_torch_threads()
        x, weight, inverse = ctx.saved_tensors
        grad_x = torch.empty(x.shape)
        scale = tiles(weight)
        tasks = -(-inverse.shape[0] // norm_numba.ROWS_PER_TASK)
        grad_scale = x.new_zeros(tasks, *scale.shape)
        norm_numba.norm_backward(
            rows(x), rows(scale), rows(inverse), rows(grad_y), rows(grad_x), rows(grad_scale)
        )
        return grad_x, grad_scale.sum(0).flatten()[: weight.shape[0]], None
