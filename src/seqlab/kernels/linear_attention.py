"""Linear recurrences with a matrix state, one interface over two backends.

`chunked` computes them in batched products, on every device and in every precision; `fla` by
flash-linear-attention's kernels, on a GPU and of values in half precision: what trains in float32
is never rounded behind one's back. Shapes and results are those of `recurrences`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from seqlab.kernels import chunked, recurrences_fla

Backend = Literal["chunked", "fla"]


def resolve_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Return what computes a recurrence of values of a type on a device."""
    half = dtype in (torch.bfloat16, torch.float16)
    on_gpu = device.type == "cuda" and recurrences_fla.fla_importable()
    return "fla" if half and on_gpu else "chunked"


def decayed(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T with one log decay per head, g (B, H, T): RetNet."""
    if resolve_backend(v.device, v.dtype) == "fla":
        return recurrences_fla.fla_decayed(q, k, v, g, state)
    return chunked.chunked_decayed(q, k, v, g, state)


def gated(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + k_t v_t^T with log decays g (B, H, T, K): GLA."""
    if resolve_backend(v.device, v.dtype) == "fla":
        return recurrences_fla.fla_gated(q, k, v, g, state)
    return chunked.chunked_gated(q, k, v, g, state)


def delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t beta_t (v_t - S_{t-1}^T k_t)^T with beta (B, H, T): DeltaNet."""
    if resolve_backend(v.device, v.dtype) == "fla":
        return recurrences_fla.fla_delta(q, k, v, beta, state)
    return chunked.chunked_delta(q, k, v, beta, state)


def gated_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply the delta rule to a state that decays before it is read, beta and g (B, H, T)."""
    if resolve_backend(v.device, v.dtype) == "fla":
        return recurrences_fla.fla_gated_delta(q, k, v, beta, g, state)
    return chunked.chunked_gated_delta(q, k, v, beta, g, state)


def generalized_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T: RWKV-7."""
    if resolve_backend(v.device, v.dtype) == "fla":
        return recurrences_fla.fla_generalized_delta(q, k, v, a, b, g, state)
    return chunked.chunked_generalized_delta(q, k, v, a, b, g, state)
