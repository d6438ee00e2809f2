"""Between tensors and the arrays that kernels take: rows of tokens and tiles of 16 channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LANES = 16


def rows(tensor: Tensor) -> Any:
    """Return (..., C) as an array (tokens, C) with unit stride in C; a view where possible."""
    array = tensor.detach().numpy()
    # NumPy's reshape also keeps slices of wider tensors as views, at a fraction of torch's cost.
    matrix = array.reshape(-1, array.shape[-1])
    if matrix.shape[1] > 1 and matrix.strides[1] != matrix.itemsize:
        matrix = np.ascontiguousarray(matrix)
    return matrix


def tiles(tensor: Tensor) -> Tensor:
    """Return (..., C) as (..., blocks, 16), zero beyond C."""
    missing = -tensor.shape[-1] % LANES
    if missing:
        tensor = functional.pad(tensor, (0, missing))
    return tensor.contiguous().view(*tensor.shape[:-1], -1, LANES)


def state_tiles(state: Tensor) -> Tensor:
    """Return (..., I, N) as contiguous (..., blocks, N, 16), zero beyond I."""
    return tiles(state.transpose(-1, -2)).transpose(-2, -3).contiguous()


def from_state_tiles(array: Tensor, channels: int) -> Tensor:
    """Undo `state_tiles`: (..., blocks, N, 16) to (..., I, N)."""
    merged = array.transpose(-2, -1).flatten(-3, -2)
    return merged[..., :channels, :]


def needs_grad(*tensors: Tensor | None) -> bool:
    """Tell whether autograd will ask for a gradient of any of these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
