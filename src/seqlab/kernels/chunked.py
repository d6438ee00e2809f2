"""Linear recurrences with a matrix state in chunks: batched products, no loop over time steps.

The same functions as `recurrences`, with the same shapes and results. Within a chunk of C tokens
everything is a product of small matrices, batched over all chunks; only the state is carried from
chunk to chunk. Decays enter as differences of their cumulated logarithms, masked before the
exponential, because e^{+large} times 0 is no number, forward or backward.

Sources: as of `recurrences`; the WY form of the delta rule is that of Yang et al. 2024a, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 32
# Log decays per channel are at least this. A score between two tokens of a chunk is a product of
# factors e^{b_i - m} and e^{m - b_j} of cumulated decays b; with m half of the most that a chunk
# decays no exponent exceeds 40, where fp32 has room. The reference m is a constant: one taken from
# the data, such as the decay at the middle, would let later tokens reach the rounding of earlier
# outputs.
GATE_MIN = -5.0
_GATED_CHUNK = 16
GENERALIZED_GATE_MIN = -math.exp(-0.5)

_Form = Callable[..., tuple[Tensor, Tensor]]


def _in_full_precision(form: _Form) -> _Form:
    """Compute a form in at least fp32 under autocast too; the output has the type of the values.

    Cumulated decays lose their digits in half precision, and triangular systems are not solved in
    it.
    """

    @wraps(form)
    def computed(*tensors: Tensor | None, **options: Any) -> tuple[Tensor, Tensor]:
        q, _, v = tensors[:3]
        assert q is not None and v is not None
        with torch.autocast(q.device.type, enabled=False):
            wide = (
                x if x is None else x.to(torch.promote_types(x.dtype, torch.float32))
                for x in tensors
            )
            output, state = form(*wide, **options)
        return output.to(v.dtype), state

    return computed


@_in_full_precision
def chunked_decayed(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T with one log decay per head, g (B, H, T): RetNet."""
    length = q.shape[2]
    chunk = _fitting(length, chunk)
    q, k, v = (_in_chunks(x, chunk) for x in (q, k, v))
    b = _in_chunks(g[..., None], chunk)[..., 0].cumsum(-1)
    within = (q @ k.mT * _decays(b)) @ v
    read = b.exp()[..., None] * q
    written = (k * (b[..., -1:] - b).exp()[..., None]).mT @ v
    kept = b[..., -1].exp()[..., None, None]
    carried, state = _carried(read, kept, written, _initial(k, v, state))
    return _joined(within + carried, length), state


@_in_full_precision
def chunked_gated(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + k_t v_t^T with log decays g (B, H, T, K): GLA.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        g: Log decays, from `GATE_MIN` to 0.
        state: Of the tokens before.
    """
    length = q.shape[2]
    chunk = _fitting(length, _GATED_CHUNK)
    q, k, v, g = (_in_chunks(x, chunk) for x in (q, k, v, g))
    b = g.cumsum(-2)
    middle = GATE_MIN * chunk / 2
    scores = (q * (b - middle).exp()) @ (k * (middle - b).exp()).mT
    within = scores.tril() @ v
    read = q * b.exp()
    written = (k * (b[..., -1:, :] - b).exp()).mT @ v
    kept = b[..., -1, :].exp()[..., None]
    carried, state = _carried(read, kept, written, _initial(k, v, state))
    return _joined(within + carried, length), state


@_in_full_precision
def chunked_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t beta_t (v_t - S_{t-1}^T k_t)^T with beta (B, H, T): DeltaNet."""
    length = q.shape[2]
    chunk = _fitting(length, chunk)
    q, k, v, beta = (_in_chunks(x, chunk) for x in (q, k, v, beta[..., None]))
    lower = (beta * (k @ k.mT)).tril(-1)
    u, w = _solved(lower, beta * v, beta * k)
    scores = (q @ k.mT).tril()
    outputs, state = [], _initial(k, v, state)
    for n in range(q.shape[2]):
        new = u[:, :, n] - w[:, :, n] @ state
        outputs.append(q[:, :, n] @ state + scores[:, :, n] @ new)
        state = state + k[:, :, n].mT @ new
    return _joined(torch.stack(outputs, 2), length), state


@_in_full_precision
def chunked_gated_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor,
    state: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """Apply the delta rule to a state that decays before it is read, beta and g (B, H, T)."""
    length = q.shape[2]
    chunk = _fitting(length, chunk)
    q, k, v, beta, g = (_in_chunks(x, chunk) for x in (q, k, v, beta[..., None], g[..., None]))
    b = g[..., 0].cumsum(-1)
    decays = _decays(b)
    grown = b.exp()[..., None]
    lower = (beta * (k @ k.mT) * decays).tril(-1)
    u, w = _solved(lower, beta * v, beta * grown * k)
    scores = q @ k.mT * decays
    read = grown * q
    written = ((b[..., -1:] - b).exp()[..., None] * k).mT
    kept = b[..., -1].exp()[..., None, None]
    outputs, state = [], _initial(k, v, state)
    for n in range(q.shape[2]):
        new = u[:, :, n] - w[:, :, n] @ state
        outputs.append(read[:, :, n] @ state + scores[:, :, n] @ new)
        state = kept[:, :, n] * state + written[:, :, n] @ new
    return _joined(torch.stack(outputs, 2), length), state


@_in_full_precision
def chunked_generalized_delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    g: Tensor,
    state: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(e^{g_t}) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T: RWKV-7.

    Args:
        q: Queries (the receptance).
        k: Keys.
        v: Values.
        a: What is removed is read along it, (B, H, T, K).
        b: What is removed is written along it, (B, H, T, K).
        g: Log decays (B, H, T, K), from `GENERALIZED_GATE_MIN` to 0.
        state: Of the tokens before.
        chunk: Tokens per chunk.
    """
    length = q.shape[2]
    chunk = _fitting(length, chunk)
    q, k, v, a, b, g = (_in_chunks(x, chunk) for x in (q, k, v, a, b, g))
    after = g.cumsum(-2)
    before = after - g
    middle = GENERALIZED_GATE_MIN * chunk / 2
    keys, removals = (x * (middle - after).exp() for x in (k, b))
    reads, removed = q * (after - middle).exp(), a * (before - middle).exp()
    inside = a * before.exp()
    lower = (removed @ removals.mT).tril(-1)
    u, w = _solved(-lower, (removed @ keys.mT).tril(-1) @ v, inside)
    within = (reads @ keys.mT).tril() @ v
    scores = (reads @ removals.mT).tril()
    read = q * after.exp()
    left = (after[..., -1:, :] - after).exp()
    written, erased = (k * left).mT @ v, (b * left).mT
    kept = after[..., -1, :].exp()[..., None]
    outputs, state = [], _initial(k, v, state)
    for n in range(q.shape[2]):
        new = u[:, :, n] + w[:, :, n] @ state
        outputs.append(read[:, :, n] @ state + scores[:, :, n] @ new)
        state = kept[:, :, n] * state + written[:, :, n] + erased[:, :, n] @ new
    return _joined(within + torch.stack(outputs, 2), length), state


def _fitting(length: int, chunk: int) -> int:
    """Return the chunk for a length: no longer than the next multiple of 16."""
    return min(chunk, -(-length // 16) * 16)


def _in_chunks(x: Tensor, chunk: int) -> Tensor:
    """Return (B, H, N, C, D). Zeros behind the end neither write, nor decay, nor remove."""
    padded = functional.pad(x, (0, 0, 0, -x.shape[2] % chunk))
    return padded.unflatten(2, (-1, chunk))


def _joined(x: Tensor, length: int) -> Tensor:
    return x.flatten(2, 3)[:, :, :length]


def _decays(b: Tensor) -> Tensor:
    """Return e^{b_i - b_j} for i >= j and 0 elsewhere, of cumulated log decays (..., C)."""
    size = b.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=b.device).triu(1)
    return (b[..., :, None] - b[..., None, :]).masked_fill(later, -torch.inf).exp()


def _solved(lower: Tensor, values: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return (I + L)^{-1} of both right-hand sides, L strictly lower triangular.

    By substitution: sums of powers of L lose all digits where keys repeat.
    """
    both = torch.cat((values, keys), -1)
    solved = torch.linalg.solve_triangular(lower, both, upper=False, unitriangular=True)
    return solved[..., : values.shape[-1]], solved[..., values.shape[-1] :]


def _initial(k: Tensor, v: Tensor, state: Tensor | None) -> Tensor:
    if state is not None:
        return state
    batch, heads, _, _, keys = k.shape
    return k.new_zeros(batch, heads, keys, v.shape[-1])


def _carried(read: Tensor, kept: Tensor, written: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return what chunks read of the state before them (B, H, N, C, W), and the last state.

    Args:
        read: Decayed queries (B, H, N, C, K).
        kept: What a chunk leaves of the state, (B, H, N, K or 1, 1).
        written: What it adds (B, H, N, K, W).
        state: Before the first chunk (B, H, K, W).
    """
    outputs = []
    for n in range(read.shape[2]):
        outputs.append(read[:, :, n] @ state)
        state = kept[:, :, n] * state + written[:, :, n]
    return torch.stack(outputs, 2), state
