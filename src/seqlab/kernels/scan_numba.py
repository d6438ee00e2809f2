"""Selective scan on CPU: numba kernels with 16 channels in the lanes of a vector.

Lanes hold channels, not states: y, du and ddelta then need no horizontal sum. The kernels take
softplus, the skip connection D and the gate z with them. The forward keeps the state at the start
of each chunk of `_CHUNK` tokens; the backward recomputes a chunk from there, so memory grows with
tokens / `_CHUNK` and time with tokens.

A task is one sequence and `_GROUP` blocks of 16 channels, whatever the number of threads: sums are
always taken in the same order, and results do not depend on the threads.

Layouts: `rows` are (batch * tokens, channels) with unit stride in the last axis; `tiles` are
(..., 16), one row for each block (and state), zero beyond the last channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from seqlab.kernels.jit import device, kernel
from seqlab.kernels.simd import (
    LANES,
    aligned_tiles,
    fma,
    load_part,
    load_tile,
    mul,
    prefetch,
    splat,
    store_part,
    store_tile,
    sub,
    total,
)
from seqlab.kernels.simd_math import exp2_nonpositive, exp_minus_abs, sigmoid_of, softplus_of

CHUNK = 8
GROUP = 8
# Vectors kept for each token of a chunk: dt, dt * u, y, the slope of softplus, u, one sum.
WORK = 6
_LN2 = np.float32(0.6931471805599453)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@device
def _read_steps(
    u: Any, delta: Any, d: Any, work: Any, block: int, first: int, last: int, ahead: int
) -> None:
    """Fill `work`: for each token dt, dt * u, D * u, the slope of softplus, and u.

    Rows are far apart in memory, so that hardware does not fetch them early: ask for the lines of
    the next chunk (`ahead` tokens away) now.

    The tokens of a chunk are independent here, which hides the latency of the exponentials.
    """
    column = block * LANES
    count = min(LANES, u.shape[1] - column)
    for t in range(first, last):
        prefetch(delta, t + ahead, column)
        prefetch(u, t + ahead, column)
        x = load_part(delta, t, column, count, _ZERO)
        e = exp_minus_abs(x)
        dt = softplus_of(x, e)
        value = load_part(u, t, column, count, _ZERO)
        row = (t - first) * WORK
        store_tile(work, row, dt)
        store_tile(work, row + 1, mul(dt, value))
        store_tile(work, row + 2, mul(load_tile(d, block), value))
        store_tile(work, row + 3, sigmoid_of(x, e))
        store_tile(work, row + 4, value)


@device
def _forward_block(
    a2: Any,
    b: Any,
    c: Any,
    work: Any,
    state: Any,
    state_row: int,
    block: int,
    first: int,
    last: int,
) -> None:
    """Advance one block of 16 channels over the rows `first` to `last`; y replaces D * u."""
    states = b.shape[1]
    a_row = block * states
    for t in range(first, last):
        row = (t - first) * WORK
        dt = load_tile(work, row)
        dtu = load_tile(work, row + 1)
        y = load_tile(work, row + 2)
        for n in range(states):
            a = exp2_nonpositive(mul(dt, load_tile(a2, a_row + n)))
            h = fma(a, load_tile(state, state_row + n), mul(dtu, splat(b[t, n])))
            store_tile(state, state_row + n, h)
            y = fma(h, splat(c[t, n]), y)
        store_tile(work, row + 2, y)


@device
def _write_outputs(
    z: Any, gated: int, work: Any, out: Any, block: int, first: int, last: int
) -> None:
    """Multiply y by silu(z) and write it."""
    column = block * LANES
    count = min(LANES, out.shape[1] - column)
    for t in range(first, last):
        y = load_tile(work, (t - first) * WORK + 2)
        prefetch(out, t + CHUNK, column)
        if gated:
            prefetch(z, t + CHUNK, column)
            gate = load_part(z, t, column, count, _ZERO)
            y = mul(y, mul(gate, sigmoid_of(gate, exp_minus_abs(gate))))
        store_part(out, t, column, count, y)


@device
def _forward_task(
    u: Any,
    delta: Any,
    a2: Any,
    b: Any,
    c: Any,
    d: Any,
    z: Any,
    gated: int,
    out: Any,
    state: Any,
    starts: Any,
    keep: int,
    sequence: int,
    tokens: int,
    group: int,
) -> None:
    """Scan the blocks of `group` of one sequence from its first to its last token."""
    states = b.shape[1]
    blocks = d.shape[0]
    chunks = (tokens + CHUNK - 1) // CHUNK
    base = sequence * tokens
    work = aligned_tiles(CHUNK * WORK)
    for chunk in range(chunks):
        first = base + chunk * CHUNK
        last = min(first + CHUNK, base + tokens)
        for block in range(group * GROUP, min((group + 1) * GROUP, blocks)):
            row = (sequence * blocks + block) * states
            if keep:
                target = ((sequence * chunks + chunk) * blocks + block) * states
                for n in range(states):
                    store_tile(starts, target + n, load_tile(state, row + n))
            _read_steps(u, delta, d, work, block, first, last, CHUNK)
            _forward_block(a2, b, c, work, state, row, block, first, last)
            _write_outputs(z, gated, work, out, block, first, last)


_MATRIX = "float32[:, :]"


@kernel(f"void({', '.join([_MATRIX] * 7)}, int64, {', '.join([_MATRIX] * 3)}, int64, int64)")
def scan_forward(
    u: Any,
    delta: Any,
    a2: Any,
    b: Any,
    c: Any,
    d: Any,
    z: Any,
    gated: int,
    out: Any,
    state: Any,
    starts: Any,
    keep: int,
    tokens: int,
) -> None:
    """Run the scan over all sequences.

    Args:
        u, delta, z: Rows of inputs, of steps before softplus, and of gates (unused unless `gated`).
        a2: Tiles (blocks * states, 16) of A * log2(e).
        b, c: Rows (batch * tokens, states).
        d: Tiles (blocks, 16) of the skip connection.
        out: Rows, written.
        state: Tiles (batch * blocks * states, 16): the initial state in, the final state out.
        starts: Tiles (batch * chunks * blocks * states, 16), written if `keep`.
        keep: 1 to store the state at the start of each chunk for the backward.
        tokens: Length of each sequence.
    """
    groups = (d.shape[0] + GROUP - 1) // GROUP
    sequences = u.shape[0] // tokens
    for task in prange(sequences * groups):
        _forward_task(
            u,
            delta,
            a2,
            b,
            c,
            d,
            z,
            gated,
            out,
            state,
            starts,
            keep,
            task // groups,
            tokens,
            task % groups,
        )


@device
def _replay_states(
    a2: Any, b: Any, c: Any, work: Any, h: Any, decay: Any, block: int, first: int, last: int
) -> None:
    """Recompute the states of one block over one chunk; y replaces D * u in `work`.

    `h` holds the state at the chunk's start in its first rows and gets the others.
    """
    states = b.shape[1]
    a_row = block * states
    for t in range(first, last):
        row = (t - first) * WORK
        dt = load_tile(work, row)
        dtu = load_tile(work, row + 1)
        y = load_tile(work, row + 2)
        at = (t - first) * states
        for n in range(states):
            a = exp2_nonpositive(mul(dt, load_tile(a2, a_row + n)))
            state = fma(a, load_tile(h, at + n), mul(dtu, splat(b[t, n])))
            store_tile(decay, at + n, a)
            store_tile(h, at + states + n, state)
            y = fma(state, splat(c[t, n]), y)
        store_tile(work, row + 2, y)


@device
def _gate_gradients(
    z: Any, gated: int, work: Any, grad_out: Any, grad_z: Any, block: int, first: int, last: int
) -> None:
    """Write dz; the gradient dy that passes the gate replaces y in `work`."""
    column = block * LANES
    count = min(LANES, grad_out.shape[1] - column)
    for t in range(first, last):
        row = (t - first) * WORK + 2
        dy = load_part(grad_out, t, column, count, _ZERO)
        prefetch(grad_out, t - CHUNK, column)
        if gated:
            prefetch(z, t - CHUNK, column)
            prefetch(grad_z, t - CHUNK, column)
            gate = load_part(z, t, column, count, _ZERO)
            s = sigmoid_of(gate, exp_minus_abs(gate))
            slope = mul(s, fma(gate, sub(splat(_ONE), s), splat(_ONE)))
            store_part(grad_z, t, column, count, mul(mul(dy, load_tile(work, row)), slope))
            dy = mul(dy, mul(gate, s))
        store_tile(work, row, dy)


@device
def _backward_states(
    a2: Any,
    b: Any,
    c: Any,
    h: Any,
    decay: Any,
    work: Any,
    carry: Any,
    grad_a: Any,
    tile_row: int,
    sums: Any,
    block: int,
    first: int,
    last: int,
) -> None:
    """Walk the states of one block back over one chunk.

    With g_t the gradient of h_t: g_t = C_t dy_t + a_{t+1} g_{t+1}, and `carry` holds a g. `sums`
    collects, over blocks, the lanes of dB and of dC, in turns for each token and state.
    In `work` the sum over states of g B replaces dt * u, that of a g h A the slope's neighbour.
    """
    states = b.shape[1]
    a_row = block * states
    for t in range(last - 1, first - 1, -1):
        work_row = (t - first) * WORK
        dt = load_tile(work, work_row)
        dtu = load_tile(work, work_row + 1)
        dy = load_tile(work, work_row + 2)
        through_b = splat(_ZERO)
        through_a = splat(_ZERO)
        row = (t - first) * states
        for n in range(states):
            target = (row + n) * 2
            g = fma(splat(c[t, n]), dy, load_tile(carry, tile_row + n))
            store_tile(sums, target, fma(g, dtu, load_tile(sums, target)))
            after = load_tile(h, row + states + n)
            store_tile(sums, target + 1, fma(dy, after, load_tile(sums, target + 1)))
            through_b = fma(g, splat(b[t, n]), through_b)
            g = mul(g, load_tile(decay, row + n))
            store_tile(carry, tile_row + n, g)
            product = mul(g, load_tile(h, row + n))
            store_tile(grad_a, tile_row + n, fma(product, dt, load_tile(grad_a, tile_row + n)))
            through_a = fma(product, load_tile(a2, a_row + n), through_a)
        store_tile(work, work_row + 1, through_b)
        store_tile(work, work_row + 5, through_a)


@device
def _write_gradients(
    d: Any,
    work: Any,
    grad_u: Any,
    grad_delta: Any,
    grad_d: Any,
    tile: int,
    block: int,
    first: int,
    last: int,
) -> None:
    """Turn the sums over states into du and ddelta, and add to dD."""
    column = block * LANES
    count = min(LANES, grad_u.shape[1] - column)
    skip = load_tile(d, block)
    grad_skip = load_tile(grad_d, tile)
    for t in range(first, last):
        prefetch(grad_u, t - CHUNK, column)
        prefetch(grad_delta, t - CHUNK, column)
        row = (t - first) * WORK
        through_b = load_tile(work, row + 1)
        dy = load_tile(work, row + 2)
        value = load_tile(work, row + 4)
        grad = fma(through_b, load_tile(work, row), mul(dy, skip))
        store_part(grad_u, t, column, count, grad)
        grad_dt = fma(load_tile(work, row + 5), splat(_LN2), mul(through_b, value))
        store_part(grad_delta, t, column, count, mul(grad_dt, load_tile(work, row + 3)))
        grad_skip = fma(dy, value, grad_skip)
    store_tile(grad_d, tile, grad_skip)


@device
def _backward_task(
    u: Any,
    delta: Any,
    a2: Any,
    b: Any,
    c: Any,
    d: Any,
    z: Any,
    gated: int,
    starts: Any,
    grad_out: Any,
    grad_u: Any,
    grad_delta: Any,
    grad_z: Any,
    grad_bc: Any,
    carry: Any,
    grad_a: Any,
    grad_d: Any,
    sequence: int,
    sequences: int,
    tokens: int,
    group: int,
) -> None:
    """Walk the blocks of `group` of one sequence from its last chunk to its first."""
    states = b.shape[1]
    blocks = d.shape[0]
    chunks = (tokens + CHUNK - 1) // CHUNK
    base = sequence * tokens
    h = aligned_tiles((CHUNK + 1) * states)
    decay = aligned_tiles(CHUNK * states)
    sums = aligned_tiles(CHUNK * 2 * states)
    work = aligned_tiles(CHUNK * WORK)
    for chunk in range(chunks - 1, -1, -1):
        first = base + chunk * CHUNK
        last = min(first + CHUNK, base + tokens)
        sums[:] = _ZERO
        for block in range(group * GROUP, min((group + 1) * GROUP, blocks)):
            tile = sequence * blocks + block
            source = ((sequence * chunks + chunk) * blocks + block) * states
            for n in range(states):
                prefetch(starts, source - blocks * states + n, 0)
                store_tile(h, n, load_tile(starts, source + n))
            _read_steps(u, delta, d, work, block, first, last, -CHUNK)
            _replay_states(a2, b, c, work, h, decay, block, first, last)
            _gate_gradients(z, gated, work, grad_out, grad_z, block, first, last)
            _backward_states(
                a2, b, c, h, decay, work, carry, grad_a, tile * states, sums, block, first, last
            )
            _write_gradients(d, work, grad_u, grad_delta, grad_d, tile, block, first, last)
        target = group * sequences * tokens + first
        for local in range(last - first):
            for n in range(states):
                row = (local * states + n) * 2
                grad_bc[target + local, n] = total(load_tile(sums, row))
                grad_bc[target + local, states + n] = total(load_tile(sums, row + 1))


@kernel(f"void({', '.join([_MATRIX] * 7)}, int64, {', '.join([_MATRIX] * 9)}, int64)")
def scan_backward(
    u: Any,
    delta: Any,
    a2: Any,
    b: Any,
    c: Any,
    d: Any,
    z: Any,
    gated: int,
    starts: Any,
    grad_out: Any,
    grad_u: Any,
    grad_delta: Any,
    grad_z: Any,
    grad_bc: Any,
    carry: Any,
    grad_a: Any,
    grad_d: Any,
    tokens: int,
) -> None:
    """Compute the gradients of `scan_forward`.

    Args:
        u, delta, a2, b, c, d, z, gated, tokens: As in the forward.
        starts: What the forward kept.
        grad_out: Rows, the gradient of `out`.
        grad_u, grad_delta, grad_z: Rows, written (`grad_z` only if `gated`).
        grad_bc: Rows (groups * batch * tokens, 2 * states), written: dB then dC of each group of
            channels; the caller adds the groups.
        carry: Tiles (batch * blocks * states, 16): the gradient of the final state in, of the
            initial state out.
        grad_a: Tiles (batch * blocks * states, 16), added to: dA of each sequence.
        grad_d: Tiles (batch * blocks, 16), added to: dD of each sequence.
    """
    groups = (d.shape[0] + GROUP - 1) // GROUP
    sequences = u.shape[0] // tokens
    for task in prange(sequences * groups):
        _backward_task(
            u,
            delta,
            a2,
            b,
            c,
            d,
            z,
            gated,
            starts,
            grad_out,
            grad_u,
            grad_delta,
            grad_z,
            grad_bc,
            carry,
            grad_a,
            grad_d,
            task // groups,
            sequences,
            tokens,
            task % groups,
        )
