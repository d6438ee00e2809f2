"""Selective scan, one interface over three backends.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t        y_t = (C_t h_t + D u_t) silu(z_t)

with dt = softplus(delta), zero-order hold for A and Euler for B, as in Gu and Dao, "Mamba" (2023),
section 3.3 and the code of the paper.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqlab.errors import UserError
from seqlab.kernels.arrays import from_state_tiles, needs_grad, rows, state_tiles, tiles
from seqlab.kernels.scan_mamba_ssm import mamba_ssm_importable, mamba_ssm_scan
from seqlab.kernels.scan_reference import StateObserver, reference_scan

Backend = Literal["numba", "mamba_ssm", "torch"]
BACKENDS: tuple[Backend, ...] = ("numba", "mamba_ssm", "torch")
_LOG2_E = 1.4426950408889634
_log = logging.getLogger(__name__)
_reported: set[tuple[str, str]] = set()


def resolve_backend(
    wanted: str | None, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Backend:
    """Return the backend that will run: `wanted` where it can, else a named substitute.

    Half precision counts as float32, in which the scan is done. A substitute is logged once.

    Args:
        wanted: One of `BACKENDS`, or None for the best of this device.
        device: Where the tensors are.
        dtype: Type of the inputs.

    Raises:
        UserError: `wanted` is no backend, or is mamba_ssm where that package is not installed.
    """
    kind = torch.device(device).type
    if wanted is not None and wanted not in BACKENDS:
        raise UserError(f"scan backend {wanted!r} is unknown", fix=f"use one of {BACKENDS}")
    if wanted == "mamba_ssm" and not mamba_ssm_importable():
        raise UserError("scan backend 'mamba_ssm' is not installed", fix="install seqlab[gpu]")
    if dtype == torch.float64:
        return _substitute(wanted, "torch", "float64 is done by the reference")
    if kind == "cpu":
        if wanted == "mamba_ssm":
            return _substitute(wanted, "numba", "mamba_ssm has no CPU kernel")
        return "torch" if wanted == "torch" else "numba"
    if wanted == "torch":
        return "torch"
    if kind == "cuda" and mamba_ssm_importable():
        return "mamba_ssm" if wanted != "numba" else _substitute(wanted, "mamba_ssm", "on CUDA")
    if kind == "cuda" and wanted is None:
        return _substitute("mamba_ssm", "torch", "it is not installed")
    return _substitute(wanted, "torch", f"no faster scan is available on {kind}")


def _substitute(wanted: str | None, used: Backend, reason: str) -> Backend:
    if wanted not in (None, used) and (str(wanted), reason) not in _reported:
        _reported.add((str(wanted), reason))
        _log.warning("scan backend %s replaced by %s: %s", wanted, used, reason)
    return used


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    d: Tensor | None = None,
    z: Tensor | None = None,
    initial_state: Tensor | None = None,
    observer: StateObserver | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the selective scan over sequences.

    Half-precision inputs are computed in float32 and the output has the type of `u`.

    Args:
        u: Inputs (B, T, I).
        delta: Steps before softplus, bias included, (B, T, I).
        a: Continuous state matrix (I, N), not positive.
        b, c: Input and output maps (B, T, N).
        d: Skip connection (I,).
        z: Gates (B, T, I); the output is multiplied by silu(z).
        initial_state: State before the first token (B, I, N); zero if absent. Where there is one
            the reference takes the place of mamba_ssm.
        observer: Called as `observer(t, h)` after each token with the state (B, I, N), detached
            from no graph; needs the backend "torch".
        backend: See `resolve_backend`.

    Returns:
        The output (B, T, I) and the state after the last token (B, I, N). With mamba_ssm the state
        carries no gradient.

    Raises:
        ValueError: Shapes disagree, or `a` has a positive entry.
        UserError: The backend is unknown or cannot do what is asked.
    """
    _check_shapes(u, delta, a, b, c, d, z, initial_state)
    given = (u, delta, a, b, c, d, z, initial_state)
    wide = any(t is not None and t.dtype == torch.float64 for t in given)
    dtype = torch.float64 if wide else torch.float32
    name = resolve_backend(backend, u.device, dtype)
    if name == "mamba_ssm" and initial_state is not None:
        name = _substitute(name, "torch", "it cannot start from a state")
    if observer is not None and name != "torch":
        raise UserError(f"backend {name} cannot show each state", fix="use backend='torch'")
    inputs = [None if tensor is None else tensor.to(dtype) for tensor in given]
    if torch.is_autocast_enabled(u.device.type):
        # Autocast would put the reference's matrix products back into half precision.
        with torch.autocast(u.device.type, enabled=False):
            y, state = _dispatch(name, inputs, observer)
    else:
        y, state = _dispatch(name, inputs, observer)
    return y.to(u.dtype), state


def _dispatch(
    name: Backend, inputs: list[Any], observer: StateObserver | None
) -> tuple[Tensor, Tensor]:
    if name == "numba":
        if needs_grad(*inputs):
            return _NumbaScan.apply(*inputs)
        return _numba_forward(*inputs, keep=False)[:2]
    if name == "mamba_ssm":
        return mamba_ssm_scan(*inputs[:7])
    u, delta, a, b, c, d, z, initial_state = inputs
    return reference_scan(u, delta, a, b, c, d, z, initial_state, observer)


def _check_shapes(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None,
    z: Tensor | None,
    initial_state: Tensor | None,
) -> None:
    batch, tokens, channels = u.shape
    states = a.shape[-1]
    expected: tuple[tuple[str, Tensor | None, tuple[int, ...]], ...] = (
        ("delta", delta, (batch, tokens, channels)),
        ("a", a, (channels, states)),
        ("b", b, (batch, tokens, states)),
        ("c", c, (batch, tokens, states)),
        ("d", d, (channels,)),
        ("z", z, (batch, tokens, channels)),
        ("initial_state", initial_state, (batch, channels, states)),
    )
    for name, tensor, shape in expected:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    if min(batch, tokens, channels, states) < 1:
        raise ValueError(f"the scan needs at least one of each, got u {tuple(u.shape)}")
    # The kernels' exponential is for arguments that are not positive. Only values on CPU are
    # looked at: on a GPU the check would wait for the device.
    if a.device.type == "cpu" and bool((a > 0).any()):
        raise ValueError("a must not be positive: the state would grow without bound")


def _numba_forward(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None,
    z: Tensor | None,
    initial_state: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return the output, the final state, and what the backward needs besides the inputs.

    That is the tiles of A * log2(e), those of D, and those of the states at each chunk's start.
    """
    from seqlab.kernels import scan_numba
    from seqlab.kernels.jit import follow_torch_threads

    follow_torch_threads()
    batch, tokens, channels = u.shape
    a2 = state_tiles(a.detach() * _LOG2_E)
    blocks, states, lanes = a2.shape
    skip = tiles(u.new_zeros(channels) if d is None else d.detach())
    if initial_state is None:
        state = u.new_zeros(batch, blocks, states, lanes)
    else:
        # A copy: the kernel advances it in place.
        state = state_tiles(initial_state.detach()).clone()
    chunks = -(-tokens // scan_numba.CHUNK)
    starts = u.new_empty((batch, chunks, blocks, states, lanes) if keep else (1, lanes))
    y = torch.empty(u.shape, dtype=u.dtype)
    gates = rows(u if z is None else z)
    scan_numba.scan_forward(
        rows(u),
        rows(delta),
        rows(a2),
        rows(b),
        rows(c),
        rows(skip),
        gates,
        int(z is not None),
        rows(y),
        rows(state),
        rows(starts),
        int(keep),
        tokens,
    )
    return y, from_state_tiles(state, channels), (a2, skip, starts)


class _NumbaScan(torch.autograd.Function):
    """The numba kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        y, state, kept = _numba_forward(*inputs, keep=True)
        ctx.save_for_backward(*inputs, *kept)
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_state: Tensor) -> tuple[Tensor | None, ...]:
        from seqlab.kernels import scan_numba
        from seqlab.kernels.jit import follow_torch_threads

        follow_torch_threads()
        u, delta, _, b, c, d, z, initial_state, a2, skip, starts = ctx.saved_tensors
        batch, tokens, channels = u.shape
        blocks, states, lanes = a2.shape
        groups = -(-blocks // scan_numba.GROUP)
        grad_u, grad_delta = torch.empty(u.shape), torch.empty(u.shape)
        grad_z = grad_u if z is None else torch.empty(u.shape)
        grad_bc = u.new_empty(groups, batch, tokens, 2 * states)
        carry = state_tiles(grad_state).clone()
        grad_a = u.new_zeros(batch, blocks, states, lanes)
        grad_d = u.new_zeros(batch, blocks, lanes)
        scan_numba.scan_backward(
            rows(u),
            rows(delta),
            rows(a2),
            rows(b),
            rows(c),
            rows(skip),
            rows(u if z is None else z),
            int(z is not None),
            rows(starts),
            rows(grad_y),
            rows(grad_u),
            rows(grad_delta),
            rows(grad_z),
            rows(grad_bc),
            rows(carry),
            rows(grad_a),
            rows(grad_d),
            tokens,
        )
        grad_b, grad_c = grad_bc.sum(0).split(states, -1)
        return (
            grad_u,
            grad_delta,
            from_state_tiles(grad_a.sum(0), channels),
            grad_b,
            grad_c,
            None if d is None else grad_d.sum(0).flatten()[:channels],
            None if z is None else grad_z,
            None if initial_state is None else from_state_tiles(carry, channels),
        )
