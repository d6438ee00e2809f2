"""Linear recurrences with a matrix state on CPU in float32, by one compiled kernel.

The same functions as `recurrences`, with the same shapes and results; they can be differentiated
once. All of them are special cases of S_t = diag(w_t) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T;
what makes its arguments out of theirs is left to autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seqlab.kernels import matrix_state_numba
from seqlab.kernels.arrays import needs_grad, rows
from seqlab.kernels.jit import follow_torch_threads
from seqlab.kernels.recurrences import in_full_precision


@in_full_precision
def numba_decayed(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T with one log decay per head, g (B, H, T): RetNet."""
    return _computed(q, k, v, None, None, _for_each_key(g.exp(), k), state)


@in_full_precision
def numba_gated(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + k_t v_t^T with log decays g (B, H, T, K): GLA."""
    return _computed(q, k, v, None, None, g.exp(), state)


@in_full_precision
def numba_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t beta_t (v_t - S_{t-1}^T k_t)^T with beta (B, H, T): DeltaNet."""
    beta = beta[..., None]
    return _computed(q, k, beta * v, k, -beta * k, torch.ones_like(k), state)


@in_full_precision
def numba_gated_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Apply the delta rule to a state that decays before it is read, beta and g (B, H, T)."""
    beta, decay = beta[..., None], g.exp()
    read = decay[..., None] * k
    return _computed(q, k, beta * v, read, -beta * k, _for_each_key(decay, k), state)


@in_full_precision
def numba_generalized_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T: RWKV-7."""
    return _computed(q, k, v, a, b, g.exp(), state)


def _for_each_key(decay: Tensor, k: Tensor) -> Tensor:
    """Return decays of heads (B, H, T) as those of all their keys (B, H, T, K)."""
    return decay[..., None].expand_as(k)


def _computed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    w: Tensor,
    state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return outputs (B, H, T, W) and the last state; without `a` and `b` nothing is removed.

    Raises:
        ValueError: Shapes disagree, or something is not float32 or not on a CPU.
    """
    _check(q, k, v, a, b, w, state)
    width = v.shape[-1]
    missing = -width % matrix_state_numba.COLUMNS
    if missing:
        v = functional.pad(v, (0, missing))
        state = None if state is None else functional.pad(state, (0, missing))
    given = (q, k, v, a, b, w, state)
    if needs_grad(*given):
        output, last = _Recurrence.apply(*given)
    else:
        output, last = _forward(*given, keep=False)[:2]
    return (output[..., :width], last[..., :width]) if missing else (output, last)


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    w: Tensor,
    state: Tensor | None,
) -> None:
    """Refuse what the kernels would read or write outside of: they check no index."""
    batch, heads, tokens, keys = q.shape
    rows_of_keys = {"k": k, "a": a, "b": b, "decays": w}
    expected = {name: (tensor, q.shape) for name, tensor in rows_of_keys.items()}
    expected["v"] = v, torch.Size((batch, heads, tokens, v.shape[-1]))
    expected["state"] = state, torch.Size((batch, heads, keys, v.shape[-1]))
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
    if min(tokens, keys, v.shape[-1]) < 1:
        raise ValueError(f"nothing to compute of q {tuple(q.shape)} and v {tuple(v.shape)}")
    for tensor in (q, k, v, a, b, w, state):
        if tensor is not None and (tensor.dtype, tensor.device.type) != (torch.float32, "cpu"):
            raise ValueError(
                f"the kernel computes float32 on a CPU, not {tensor.dtype} on {tensor.device}"
            )


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    w: Tensor,
    state: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, Tensor]]:
    """Return outputs, the last state, and what the backward needs besides the inputs."""
    follow_torch_threads()
    batch, heads, tokens, keys = k.shape
    width = v.shape[-1]
    last = k.new_zeros(batch, heads, keys, width)
    if state is not None:
        # A copy: the kernel advances it in place.
        last.copy_(state.detach())
    chunks = -(-tokens // matrix_state_numba.CHUNK) if keep else 0
    starts = k.new_empty(batch, heads, chunks, keys, width)
    output = v.new_empty(batch, heads, tokens, width)
    removed = None if a is None else torch.empty_like(output)
    own_keys = rows(k)
    matrix_state_numba.advance(
        rows(q),
        own_keys,
        rows(v),
        own_keys if a is None else rows(a),
        own_keys if b is None else rows(b),
        rows(w),
        int(a is not None),
        rows(output),
        rows(output if removed is None else removed),
        rows(last),
        rows(starts),
        int(keep),
        tokens,
    )
    return output, last, (removed, starts)


class _Recurrence(torch.autograd.Function):
    """The kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        output, state, kept = _forward(*given, keep=True)
        ctx.save_for_backward(*given, *kept)
        return output, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor, grad_state: Tensor) -> tuple[Tensor | None, ...]:
        follow_torch_threads()
        q, k, v, a, b, w, state, removed, starts = ctx.saved_tensors
        removing = a is not None
        # Constant decays, such as those of RetNet, want no gradient.
        decays = ctx.needs_input_grad[5]
        names = ("qkab" if removing else "qk") + ("w" if decays else "")
        grads = {name: q.new_zeros(q.shape) for name in names}
        grad_v = v.new_empty(v.shape)
        carry = grad_state.contiguous().clone()
        own_keys, own_values = rows(k), rows(v)
        matrix_state_numba.retreat(
            rows(q),
            own_keys,
            own_values,
            rows(a) if removing else own_keys,
            rows(b) if removing else own_keys,
            rows(w),
            int(removing),
            rows(removed) if removing else own_values,
            rows(starts),
            rows(grad_output),
            rows(grads["q"]),
            rows(grads["k"]),
            rows(grad_v),
            rows(grads["a" if removing else "k"]),
            rows(grads["b" if removing else "k"]),
            rows(grads["w" if decays else "k"]),
            int(decays),
            rows(carry),
            k.shape[2],
        )
        return (
            grads["q"],
            grads["k"],
            grad_v,
            grads.get("a"),
            grads.get("b"),
            grads.get("w"),
            None if state is None else carry,
        )
