"""Causal depthwise convolution over time, fused with SiLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seqlab.kernels.arrays import needs_grad, rows, tiles
from seqlab.kernels.conv_reference import reference_conv


def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor | None, backend: str) -> Tensor:
    """Convolve each channel with its own filter over the past, then apply SiLU.

    y[t, i] = silu(bias[i] + sum_k weight[i, k] x[t - K + 1 + k, i]), zero before the first token.

    Args:
        x: Inputs (B, T, I); a slice of a wider tensor is read in place.
        weight: Filters (I, K).
        bias: Offsets (I,) or None.
        backend: "numba" runs the fused kernel on float32 CPU tensors; any other value, or another
            type or device, runs plain PyTorch.

    Raises:
        ValueError: `weight` does not have one filter for each channel of `x`.
    """
    if weight.shape[0] != x.shape[-1]:
        raise ValueError(f"{weight.shape[0]} filters for {x.shape[-1]} channels")
    tensors = (x, weight) if bias is None else (x, weight, bias)
    fused = all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
    if backend != "numba" or not fused:
        return functional.silu(reference_conv(x, weight, bias))
    if needs_grad(x, weight, bias):
        return _FusedConv.apply(x, weight, bias)
    return _forward(x, *_filter_tiles(weight, bias))


def _filter_tiles(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return tiles (K, blocks, 16) of the filters, first tap first, and those of the bias."""
    offset = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach()
    return tiles(weight.detach().t()), tiles(offset)


def _forward(x: Tensor, taps: Tensor, offset: Tensor) -> Tensor:
    from seqlab.kernels import conv_numba
    from seqlab.kernels.jit import follow_torch_threads

    follow_torch_threads()
    y = torch.empty(x.shape)
    conv_numba.conv_forward(rows(x), rows(taps), rows(offset), rows(y), x.shape[1])
    return y


class _FusedConv(torch.autograd.Function):
    """The numba kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        taps, offset = _filter_tiles(weight, bias)
        ctx.save_for_backward(x, taps, offset)
        ctx.biased = bias is not None
        return _forward(x, taps, offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        from seqlab.kernels import conv_numba
        from seqlab.kernels.jit import follow_torch_threads

        follow_torch_threads()
        x, taps, offset = ctx.saved_tensors
        batch, tokens, channels = x.shape
        width, blocks, lanes = taps.shape
        grad_x = torch.empty(x.shape)
        grad_taps = x.new_zeros(batch, width, blocks, lanes)
        grad_offset = x.new_zeros(batch, blocks, lanes)
        conv_numba.conv_backward(
            rows(x),
            rows(taps),
            rows(offset),
            rows(grad_y),
            rows(grad_x),
            rows(grad_taps),
            rows(grad_offset),
            tokens,
        )
        grad_weight = grad_taps.sum(0).flatten(1)[:, :channels].t()
        grad_bias = grad_offset.sum(0).flatten()[:channels] if ctx.biased else None
        return grad_x, grad_weight, grad_bias
