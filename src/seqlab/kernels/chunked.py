"""Linear recurrences with a matrix state in chunks: batched products, no loop over time steps.

The same functions as `recurrences`, with the same shapes and results. Within a chunk of C tokens
everything is a product of small matrices, batched over all chunks; only the state is carried from
chunk to chunk. Decays enter as differences of their cumulated logarithms, masked before the
exponential, because e^{+large} times 0 is no number, forward or backward. Long sequences are taken
in segments, so that what a chunk is computed from is not held for all of them at once.

Sources: as of `recurrences`; the WY form of the delta rule is that of Yang et al. 2024a, section 3.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels.recurrences import Form, in_full_precision

CHUNK = 32
# Tokens of a segment. Products of chunks have several times the size of the inputs: those of a long
# sequence would leave the caches, and be blocks so large that each is mapped and cleared anew.
SEGMENT = 512
# Log decays per channel are at least this. A score between two tokens of a chunk is a product of
# factors e^{b_i - m} and e^{m - b_j} of cumulated decays b; with m half of the most that a chunk
# decays no exponent exceeds 40, where fp32 has room. The reference m is a constant: one taken from
# the data, such as the decay at the middle, would let later tokens reach the rounding of earlier
# outputs.
GATE_MIN = -5.0
_GATED_CHUNK = 16
# Sizes of chunks are multiples of this.
_MULTIPLE = 4
GENERALIZED_GATE_MIN = -math.exp(-0.5)


def _in_segments(form: Form) -> Form:
    """Compute a form on `SEGMENT` tokens at a time, its state carried from one to the next."""
    count = list(inspect.signature(form).parameters).index("state")

    @wraps(form)
    def computed(*tensors: Tensor | None, **options: Any) -> tuple[Tensor, Tensor]:
        given = [x for x in tensors[:count] if x is not None]
        state = tensors[count] if len(tensors) > count else None
        outputs = []
        # Split at once: the gradient of a slice would be as large as the sequence.
        for parts in zip(*(x.split(SEGMENT, 2) for x in given), strict=True):
            output, state = form(*parts, state, **options)
            outputs.append(output)
        assert state is not None
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2), state

    return computed


@in_full_precision
@_in_segments
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
    return _carried(within, read, kept, written, state, length)


@in_full_precision
@_in_segments
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
    chunk = _fitting(length, _GATED_CHUNK, most=_GATED_CHUNK)
    q, k, v, g = (_in_chunks(x, chunk) for x in (q, k, v, g))
    b = g.cumsum(-2)
    middle = GATE_MIN * chunk / 2
    scores = (q * (b - middle).exp()) @ (k * (middle - b).exp()).mT
    within = scores.tril() @ v
    read = q * b.exp()
    written = (k * (b[..., -1:, :] - b).exp()).mT @ v
    kept = b[..., -1, :].exp()[..., None]
    return _carried(within, read, kept, written, state, length)


@in_full_precision
@_in_segments
def chunked_delta(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor | None = None, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t beta_t (v_t - S_{t-1}^T k_t)^T with beta (B, H, T): DeltaNet."""
    length = q.shape[2]
    chunk = _fitting(length, chunk)
    q, k, v, beta = (_in_chunks(x, chunk) for x in (q, k, v, beta[..., None]))
    lower = (beta * (k @ k.mT)).tril(-1)
    u, w = _solved(lower, beta * v, None if _alone(q, state) else -beta * k)
    scores = (q @ k.mT).tril()
    return _corrected(u, w, q, scores, k.mT, state, length)


@in_full_precision
@_in_segments
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
    u, w = _solved(lower, beta * v, None if _alone(q, state) else -beta * grown * k)
    scores = q @ k.mT * decays
    read = grown * q
    written = ((b[..., -1:] - b).exp()[..., None] * k).mT
    kept = b[..., -1].exp()[..., None, None]
    return _corrected(u, w, read, scores, written, state, length, kept=kept)


@in_full_precision
@_in_segments
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
    inside = None if _alone(q, state) else a * before.exp()
    lower = (removed @ removals.mT).tril(-1)
    u, w = _solved(-lower, (removed @ keys.mT).tril(-1) @ v, inside)
    within = (reads @ keys.mT).tril() @ v
    scores = (reads @ removals.mT).tril()
    read = q * after.exp()
    left = (after[..., -1:, :] - after).exp()
    added, erased = (k * left).mT @ v, (b * left).mT
    kept = after[..., -1, :].exp()[..., None]
    output, state = _corrected(u, w, read, scores, erased, state, length, kept=kept, added=added)
    return _joined(within, length) + output, state


def _fitting(length: int, chunk: int, most: int | None = None) -> int:
    """Return the size of chunks for a length: about `chunk` and at most `most`, half more unless
    told, so that few places are padding.
    """
    most = most or chunk * 3 // 2
    count = max(-(-length // most), round(length / chunk))
    return -(-length // (_MULTIPLE * count)) * _MULTIPLE


def _in_chunks(x: Tensor, chunk: int) -> Tensor:
    """Return (B, H, N, C, D). Zeros behind the end neither write, nor decay, nor remove."""
    missing = -x.shape[2] % chunk
    padded = functional.pad(x, (0, 0, 0, missing)) if missing else x
    # Copied once here and not in every product: heads are views between the tokens.
    return padded.unflatten(2, (-1, chunk)).contiguous()


def _joined(x: Tensor, length: int) -> Tensor:
    return x.flatten(2, 3)[:, :, :length]


def _decays(b: Tensor) -> Tensor:
    """Return e^{b_i - b_j} for i >= j and 0 elsewhere, of cumulated log decays (..., C)."""
    size = b.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=b.device).triu(1)
    return (b[..., :, None] - b[..., None, :]).masked_fill(later, -torch.inf).exp()


def _alone(x: Tensor, state: Tensor | None) -> bool:
    """Return whether x (B, H, N, C, D) is one chunk without a state before it."""
    return state is None and x.shape[2] == 1


def _solved(lower: Tensor, values: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return (I + L)^{-1} of both right-hand sides, L strictly lower triangular.

    By substitution: sums of powers of L lose all digits where keys repeat.
    """
    both = values if keys is None else torch.cat((values, keys), -1)
    solved = torch.linalg.solve_triangular(lower, both, upper=False, unitriangular=True)
    if keys is None:
        return solved, None
    return solved[..., : values.shape[-1]], solved[..., values.shape[-1] :]


def _carried(
    within: Tensor,
    read: Tensor,
    kept: Tensor,
    written: Tensor,
    state: Tensor | None,
    length: int,
) -> tuple[Tensor, Tensor]:
    """Return outputs (B, H, T, W) of chunks that add to the state, and the last state.

    In each chunk o = within + read S, then S <- kept S + written. Without a state before it the
    first chunk reads nothing: where one chunk is all, that is most of the work.

    Args:
        within: What outputs get from their own chunk (B, H, N, C, W).
        read: Decayed queries (B, H, N, C, K).
        kept: What a chunk leaves of the state, (B, H, N, K or 1, 1).
        written: What it adds (B, H, N, K, W).
        state: Before the first chunk (B, H, K, W), or None.
        length: Tokens T.
    """
    outputs = []
    for own, reads, keeps, writes in _by_chunk(within, read, kept, written):
        outputs.append(own if state is None else own + reads @ state)
        state = writes if state is None else keeps * state + writes
    assert state is not None
    return _joined(torch.stack(outputs, 2), length), state


def _corrected(
    u: Tensor,
    w: Tensor | None,
    read: Tensor,
    scores: Tensor,
    written: Tensor,
    state: Tensor | None,
    length: int,
    *,
    kept: Tensor | None = None,
    added: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return outputs (B, H, T, W) of chunks that correct what they write, and the last state.

    In each chunk new = u + w S, o = read S + scores new, then S <- kept S + added + written new.

    Args:
        u: What is written if the state is empty (B, H, N, C, W).
        w: What the state changes of it (B, H, N, C, K); None for one chunk without a state.
        read: Queries (B, H, N, C, K).
        scores: Of queries with what is written (B, H, N, C, C).
        written: Where it is written to (B, H, N, K, C).
        state: Before the first chunk (B, H, K, W), or None.
        length: Tokens T.
        kept: What a chunk leaves of the state, (B, H, N, K or 1, 1); all of it unless told.
        added: What it adds besides (B, H, N, K, W); nothing unless told.
    """
    outputs = []
    chunks = _by_chunk(u, w, read, scores, written, kept, added)
    for own, corrects, reads, scored, writes, keeps, adds in chunks:
        new = own if state is None else own + corrects @ state
        outputs.append(scored @ new if state is None else reads @ state + scored @ new)
        changed = writes @ new if adds is None else adds + writes @ new
        if state is not None:
            changed = changed + (state if keeps is None else keeps * state)
        state = changed
    assert state is not None
    return _joined(torch.stack(outputs, 2), length), state


def _by_chunk(*tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Yield what belongs to each chunk of tensors (B, H, N, ...), None of what there is not.

    Taken apart once: the gradient of an index would be as large as all chunks together.
    """
    count = next(x.shape[2] for x in tensors if x is not None)
    return zip(*([None] * count if x is None else x.unbind(2) for x in tensors), strict=True)
