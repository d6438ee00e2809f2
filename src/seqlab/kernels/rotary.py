"""Rotary positions (Su et al. 2021), halves of a head paired."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from seqlab.kernels.arrays import rows

_BASE = 10_000.0
# Lengths in use at once: those of training and of every condition tested.
_TABLES = 32
# (B, H, T, K).
_HEADS_NDIM = 4


def rotated(x: Tensor, start: int) -> Tensor:
    """Rotate channels (i, i + K / 2) of (..., T, K) by position times 10,000^(-2 i / K).

    Args:
        x: Queries or keys.
        start: Position of the first token.
    """
    cos, sin = _table(start, x.shape[-2], x.shape[-1] // 2, x.dtype, x.device)
    return _Rotation.apply(x, cos, sin)


class _Rotation(torch.autograd.Function):
    """A rotation; its gradient is rotated back, which needs no input kept and no slice summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        if x.dtype == torch.float32 and x.device.type == "cpu" and x.ndim == _HEADS_NDIM:
            return _fused(x, cos, sin)
        half = x.shape[-1] // 2
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _Rotation.apply(grad_y, cos, -sin), None, None


def _fused(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    from seqlab.kernels.jit import follow_torch_threads
    from seqlab.kernels.rotary_numba import rotate

    follow_torch_threads()
    # Heads of a projection lie between its tokens.
    tokens = x.transpose(1, 2)
    y = torch.empty(tokens.shape)
    rotate(rows(tokens.flatten(2)), rows(cos), rows(sin), rows(y.flatten(2)))
    return y.transpose(1, 2)


@lru_cache(maxsize=_TABLES)
def _table(
    start: int, length: int, half: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (T, K / 2); angles are taken in float32 at least."""
    # A table that evaluation makes is one that training may save for its backward pass.
    with torch.inference_mode(False):
        wide = torch.promote_types(dtype, torch.float32)
        rates = _BASE ** (-torch.arange(half, device=device, dtype=wide) / half)
        positions = torch.arange(start, start + length, device=device, dtype=wide)
        angles = positions[:, None] * rates
        return angles.cos().to(dtype), angles.sin().to(dtype)
