"""Recurrence of a matrix state on CPU: numba kernels with value channels in the lanes of vectors.

    S_t = diag(w_t) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T,    o_t = S_t^T q_t

Columns of the state do not touch each other: the forward takes 16 of them at a time, the backward
32, from the first token to the last. What a token does is one pass over the state, which also reads
what the next token removes. The forward keeps the state at the start of each chunk of `CHUNK`
tokens; the backward recomputes a chunk from there, so memory grows with tokens / `CHUNK` and time
with tokens.

A task is one sequence of one head, whatever the number of threads: sums are always taken in the
same order, and results do not depend on the threads. So no more of them work than there are
sequences and heads.

Layouts: `rows` are (sequences * tokens, keys or values), `states` (sequences * keys, values), all
with unit stride in the last axis; values are a multiple of `COLUMNS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from seqlab.kernels.jit import device, kernel
from seqlab.kernels.simd import LANES, aligned_tiles, fma, load, mul, splat, store, total

# Tokens of a chunk. The backward holds 32 columns of the states of one, 132 KiB for 32 keys; with
# chunks of 8 that fit the first cache it took half as long again, for four times as many states
# were written to memory and read from there.
CHUNK = 32
COLUMNS = 2 * LANES
_ZERO = np.float32(0.0)


@device
def _forward_task(
    q: Any,
    k: Any,
    v: Any,
    a: Any,
    b: Any,
    w: Any,
    removing: int,
    out: Any,
    removed: Any,
    state: Any,
    starts: Any,
    keep: int,
    sequence: int,
    tokens: int,
) -> None:
    """Advance the state of one sequence from its first to its last token."""
    keys = q.shape[1]
    chunks = (tokens + CHUNK - 1) // CHUNK
    first, last = sequence * tokens, (sequence + 1) * tokens
    row = sequence * keys
    for column in range(0, v.shape[1], LANES):
        following = splat(_ZERO)
        if removing:
            for i in range(keys):
                following = fma(splat(a[first, i]), load(state, row + i, column), following)
        for t in range(first, last):
            if keep and (t - first) % CHUNK == 0:
                target = (sequence * chunks + (t - first) // CHUNK) * keys
                for i in range(keys):
                    store(starts, target + i, column, load(state, row + i, column))
            value = load(v, t, column)
            output = splat(_ZERO)
            if removing:
                read = following
                store(removed, t, column, read)
                following = splat(_ZERO)
                # What the last token reads is not used.
                after = min(t + 1, last - 1)
                for i in range(keys):
                    h = mul(splat(w[t, i]), load(state, row + i, column))
                    h = fma(splat(b[t, i]), read, fma(splat(k[t, i]), value, h))
                    store(state, row + i, column, h)
                    output = fma(splat(q[t, i]), h, output)
                    following = fma(splat(a[after, i]), h, following)
            else:
                for i in range(keys):
                    h = mul(splat(w[t, i]), load(state, row + i, column))
                    h = fma(splat(k[t, i]), value, h)
                    store(state, row + i, column, h)
                    output = fma(splat(q[t, i]), h, output)
            store(out, t, column, output)


_MATRIX = "float32[:, :]"


@kernel(f"void({', '.join([_MATRIX] * 6)}, int64, {', '.join([_MATRIX] * 4)}, int64, int64)")
def advance(
    q: Any,
    k: Any,
    v: Any,
    a: Any,
    b: Any,
    w: Any,
    removing: int,
    out: Any,
    removed: Any,
    state: Any,
    starts: Any,
    keep: int,
    tokens: int,
) -> None:
    """Run the recurrence over all sequences.

    Args:
        q, k, a, b, w: Rows of keys; `a` and `b` are not read unless `removing`.
        v: Rows of values.
        removing: 1 where something is removed.
        out: Rows of values, written: what is read of the state.
        removed: Rows of values, written if `removing`: S_{t-1}^T a_t.
        state: States, the initial ones in, the final ones out.
        starts: States (sequences * chunks * keys, values), written if `keep`.
        keep: 1 to store the state at the start of each chunk for the backward.
        tokens: Length of each sequence.
    """
    for sequence in prange(q.shape[0] // tokens):
        _forward_task(
            q, k, v, a, b, w, removing, out, removed, state, starts, keep, sequence, tokens
        )


@device
def _replay(
    k: Any,
    v: Any,
    b: Any,
    w: Any,
    removing: int,
    removed: Any,
    h: Any,
    first: int,
    last: int,
    column: int,
) -> None:
    """Recompute 32 columns of the states after each token; `h` starts with those before them."""
    keys = k.shape[1]
    for half in range(0, COLUMNS, LANES):
        for t in range(first, last):
            before = (t - first) * keys
            value = load(v, t, column + half)
            if removing:
                read = load(removed, t, column + half)
                for i in range(keys):
                    x = mul(splat(w[t, i]), load(h, before + i, half))
                    x = fma(splat(b[t, i]), read, fma(splat(k[t, i]), value, x))
                    store(h, before + keys + i, half, x)
            else:
                for i in range(keys):
                    x = mul(splat(w[t, i]), load(h, before + i, half))
                    store(h, before + keys + i, half, fma(splat(k[t, i]), value, x))


@device
def _backward_plain(
    q: Any,
    k: Any,
    v: Any,
    w: Any,
    grad_out: Any,
    grad_q: Any,
    grad_k: Any,
    grad_v: Any,
    grad_w: Any,
    decays: int,
    h: Any,
    carry: Any,
    row: int,
    before: int,
    t: int,
    column: int,
) -> None:
    """Take the gradient of 32 columns of the state from after a token to before it."""
    keys = q.shape[1]
    right = column + LANES
    dy0, dy1 = load(grad_out, t, column), load(grad_out, t, right)
    v0, v1 = load(v, t, column), load(v, t, right)
    value0, value1 = splat(_ZERO), splat(_ZERO)
    after = before + keys
    for i in range(keys):
        g0 = fma(splat(q[t, i]), dy0, load(carry, row + i, column))
        g1 = fma(splat(q[t, i]), dy1, load(carry, row + i, right))
        sums = mul(dy0, load(h, after + i, 0))
        grad_q[t, i] += total(fma(dy1, load(h, after + i, LANES), sums))
        grad_k[t, i] += total(fma(v1, g1, mul(v0, g0)))
        value0 = fma(splat(k[t, i]), g0, value0)
        value1 = fma(splat(k[t, i]), g1, value1)
        if decays:
            sums = mul(g0, load(h, before + i, 0))
            grad_w[t, i] += total(fma(g1, load(h, before + i, LANES), sums))
        store(carry, row + i, column, mul(splat(w[t, i]), g0))
        store(carry, row + i, right, mul(splat(w[t, i]), g1))
    store(grad_v, t, column, value0)
    store(grad_v, t, right, value1)


@device
def _backward_removing(
    q: Any,
    k: Any,
    v: Any,
    a: Any,
    b: Any,
    w: Any,
    removed: Any,
    grad_out: Any,
    grad_q: Any,
    grad_k: Any,
    grad_v: Any,
    grad_a: Any,
    grad_b: Any,
    grad_w: Any,
    decays: int,
    h: Any,
    carry: Any,
    row: int,
    before: int,
    t: int,
    column: int,
) -> None:
    """Do the same where something was removed: its gradient is known after a first pass."""
    keys = q.shape[1]
    right = column + LANES
    dy0, dy1 = load(grad_out, t, column), load(grad_out, t, right)
    v0, v1 = load(v, t, column), load(v, t, right)
    r0, r1 = load(removed, t, column), load(removed, t, right)
    value0, value1 = splat(_ZERO), splat(_ZERO)
    read0, read1 = splat(_ZERO), splat(_ZERO)
    after = before + keys
    for i in range(keys):
        g0 = fma(splat(q[t, i]), dy0, load(carry, row + i, column))
        g1 = fma(splat(q[t, i]), dy1, load(carry, row + i, right))
        store(carry, row + i, column, g0)
        store(carry, row + i, right, g1)
        sums = mul(dy0, load(h, after + i, 0))
        grad_q[t, i] += total(fma(dy1, load(h, after + i, LANES), sums))
        grad_k[t, i] += total(fma(v1, g1, mul(v0, g0)))
        grad_b[t, i] += total(fma(r1, g1, mul(r0, g0)))
        value0 = fma(splat(k[t, i]), g0, value0)
        value1 = fma(splat(k[t, i]), g1, value1)
        read0 = fma(splat(b[t, i]), g0, read0)
        read1 = fma(splat(b[t, i]), g1, read1)
    store(grad_v, t, column, value0)
    store(grad_v, t, right, value1)
    for i in range(keys):
        g0, g1 = load(carry, row + i, column), load(carry, row + i, right)
        x0, x1 = load(h, before + i, 0), load(h, before + i, LANES)
        if decays:
            grad_w[t, i] += total(fma(g1, x1, mul(g0, x0)))
        grad_a[t, i] += total(fma(read1, x1, mul(read0, x0)))
        store(carry, row + i, column, fma(splat(a[t, i]), read0, mul(splat(w[t, i]), g0)))
        store(carry, row + i, right, fma(splat(a[t, i]), read1, mul(splat(w[t, i]), g1)))


@device
def _backward_task(
    q: Any,
    k: Any,
    v: Any,
    a: Any,
    b: Any,
    w: Any,
    removing: int,
    removed: Any,
    starts: Any,
    grad_out: Any,
    grad_q: Any,
    grad_k: Any,
    grad_v: Any,
    grad_a: Any,
    grad_b: Any,
    grad_w: Any,
    decays: int,
    carry: Any,
    sequence: int,
    tokens: int,
) -> None:
    """Walk one sequence from its last chunk to its first."""
    keys = q.shape[1]
    chunks = (tokens + CHUNK - 1) // CHUNK
    base, row = sequence * tokens, sequence * keys
    h = aligned_tiles((CHUNK + 1) * keys * 2).reshape(((CHUNK + 1) * keys, COLUMNS))
    for column in range(0, v.shape[1], COLUMNS):
        for chunk in range(chunks - 1, -1, -1):
            first = base + chunk * CHUNK
            last = min(first + CHUNK, base + tokens)
            source = (sequence * chunks + chunk) * keys
            for i in range(keys):
                store(h, i, 0, load(starts, source + i, column))
                store(h, i, LANES, load(starts, source + i, column + LANES))
            _replay(k, v, b, w, removing, removed, h, first, last, column)
            for t in range(last - 1, first - 1, -1):
                before = (t - first) * keys
                if removing:
                    _backward_removing(
                        q,
                        k,
                        v,
                        a,
                        b,
                        w,
                        removed,
                        grad_out,
                        grad_q,
                        grad_k,
                        grad_v,
                        grad_a,
                        grad_b,
                        grad_w,
                        decays,
                        h,
                        carry,
                        row,
                        before,
                        t,
                        column,
                    )
                else:
                    _backward_plain(
                        q,
                        k,
                        v,
                        w,
                        grad_out,
                        grad_q,
                        grad_k,
                        grad_v,
                        grad_w,
                        decays,
                        h,
                        carry,
                        row,
                        before,
                        t,
                        column,
                    )


@kernel(
    f"void({', '.join([_MATRIX] * 6)}, int64, {', '.join([_MATRIX] * 9)}, int64, {_MATRIX}, int64)"
)
def retreat(
    q: Any,
    k: Any,
    v: Any,
    a: Any,
    b: Any,
    w: Any,
    removing: int,
    removed: Any,
    starts: Any,
    grad_out: Any,
    grad_q: Any,
    grad_k: Any,
    grad_v: Any,
    grad_a: Any,
    grad_b: Any,
    grad_w: Any,
    decays: int,
    carry: Any,
    tokens: int,
) -> None:
    """Compute the gradients of `advance`.

    Args:
        q, k, v, a, b, w, removing, tokens: As in the forward.
        removed, starts: What the forward wrote.
        grad_out: Rows of values, the gradient of `out`.
        grad_q, grad_k, grad_a, grad_b, grad_w: Rows of keys, added to; `grad_a` and `grad_b` only
            if `removing`, `grad_w` only if `decays`.
        grad_v: Rows of values, written.
        decays: 1 where the gradient of `w` is wanted.
        carry: States, the gradient of the final ones in, of the initial ones out.
    """
    for sequence in prange(q.shape[0] // tokens):
        _backward_task(
            q,
            k,
            v,
            a,
            b,
            w,
            removing,
            removed,
            starts,
            grad_out,
            grad_q,
            grad_k,
            grad_v,
            grad_a,
            grad_b,
            grad_w,
            decays,
            carry,
            sequence,
            tokens,
        )
