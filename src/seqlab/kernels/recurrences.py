"""Linear recurrences with a matrix state, one token at a time: for decoding, and as oracles of
all other forms.

Shapes: q, k (B, H, T, K); v (B, H, T, W); state S (B, H, K, W), key dimension first; outputs
o_t = S_t^T q_t (B, H, T, W), returned with the final state. Scales of q are the caller's. Inputs
are unbound once, not indexed at each step, so that the backward is linear in the length.

Sources: RetNet (Sun et al. 2023), GLA (Yang et al. 2023), DeltaNet (Yang et al. 2024a), Gated
DeltaNet (Yang et al. 2024b), RWKV-7 (Peng et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from typing import Any

import torch
from torch import Tensor

Form = Callable[..., tuple[Tensor, Tensor]]


def in_full_precision(form: Form) -> Form:
    """Compute a form in one type, of at least fp32, under autocast too; the output has the type of
    the values.

    Cumulated decays lose their digits in half precision, and triangular systems are not solved in
    it.
    """

    @wraps(form)
    def computed(*tensors: Tensor | None, **options: Any) -> tuple[Tensor, Tensor]:
        q, _, v = tensors[:3]
        assert q is not None and v is not None
        given = (x.dtype for x in tensors if x is not None)
        dtype = reduce(torch.promote_types, given, torch.float32)
        with torch.autocast(q.device.type, enabled=False):
            wide = (None if x is None else x.to(dtype) for x in tensors)
            output, state = form(*wide, **options)
        return output.to(v.dtype), state

    return computed


def decayed_recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T with one log decay per head, g (B, H, T): RetNet."""
    return gated_recurrence(q, k, v, g[..., None].expand_as(k), state)


def gated_recurrence(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + k_t v_t^T with log decays g (B, H, T, K): GLA."""
    state = _initial(k, v, state)
    outputs = []
    for q_t, k_t, v_t, decay in zip(*_unbound(q, k, v, g.exp()), strict=True):
        state = decay[..., None] * state + k_t[..., None] * v_t[..., None, :]
        outputs.append(_read(state, q_t))
    return torch.stack(outputs, 2), state


def delta_recurrence(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t beta_t (v_t - S_{t-1}^T k_t)^T with beta (B, H, T): DeltaNet."""
    return gated_delta_recurrence(q, k, v, beta, torch.zeros_like(beta), state)


def gated_delta_recurrence(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply the delta rule to a state that decays before it is read, beta and g (B, H, T)."""
    state = _initial(k, v, state)
    outputs = []
    for q_t, k_t, v_t, beta_t, decay in zip(*_unbound(q, k, v, beta, g.exp()), strict=True):
        state = decay[..., None, None] * state
        written = beta_t[..., None] * (v_t - _read(state, k_t))
        state = state + k_t[..., None] * written[..., None, :]
        outputs.append(_read(state, q_t))
    return torch.stack(outputs, 2), state


def generalized_delta_recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T: RWKV-7.

    a, b and the log decays g are (B, H, T, K). The removal reads the state before it decays.
    """
    state = _initial(k, v, state)
    outputs = []
    for q_t, k_t, v_t, a_t, b_t, decay in zip(*_unbound(q, k, v, a, b, g.exp()), strict=True):
        removed = b_t[..., None] * _read(state, a_t)[..., None, :]
        state = decay[..., None] * state + removed + k_t[..., None] * v_t[..., None, :]
        outputs.append(_read(state, q_t))
    return torch.stack(outputs, 2), state


def _initial(k: Tensor, v: Tensor, state: Tensor | None) -> Tensor:
    if state is not None:
        return state
    batch, heads, _, keys = k.shape
    return k.new_zeros(batch, heads, keys, v.shape[-1])


def _unbound(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return [tensor.unbind(2) for tensor in tensors]


def _read(state: Tensor, vector: Tensor) -> Tensor:
    """Return S^T x (B, H, W)."""
    return (vector[..., None, :] @ state)[..., 0, :]
