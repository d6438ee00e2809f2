"""Selective scan in plain PyTorch: the reference, for every device and floating-point type."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

StateObserver = Callable[[int, Tensor], None]


def reference_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None,
    z: Tensor | None,
    initial_state: Tensor | None,
    observer: StateObserver | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence one token at a time (Gu and Dao 2023, equation 2, with softplus steps).

    Inputs are unbound once, not indexed at each step, so that the backward is linear in the length.
    `observer(t, h)` is called after each token with the state (B, I, N).

    Returns:
        The output (B, T, I) and the final state (B, I, N).
    """
    steps = functional.softplus(delta)
    state = u.new_zeros(u.shape[0], *a.shape) if initial_state is None else initial_state
    outputs = []
    pieces = (tensor.unbind(1) for tensor in (steps, steps * u, b, c))
    for t, (dt, dtu, b_t, c_t) in enumerate(zip(*pieces, strict=True)):
        state = torch.exp(dt[..., None] * a) * state + dtu[..., None] * b_t[:, None, :]
        outputs.append((state @ c_t[..., None])[..., 0])
        if observer is not None:
            observer(t, state)
    y = torch.stack(outputs, 1)
    if d is not None:
        y = y + d * u
    if z is not None:
        y = y * functional.silu(z)
    return y, state
