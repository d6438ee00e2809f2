"""Greedy decoding of a Mamba model on CPU, one numba call for any number of tokens.

A token passes each layer in two parallel regions. In the first a task takes some panels of 64 inner
channels from the residual stream through in_proj, convolution and SiLU to its share of x_proj; in
the second it takes the same channels from x_proj through dt_proj, scan and gate to its share of
out_proj. Shares are added up by every task for itself, in the same order, so a layer needs two
barriers, and results do not depend on the number of threads: tasks follow from the model's size.

Layouts, all float32 with two axes; `plan` (int64) holds sizes and the first rows of each part:

- `panels`: packed weights and biases, 64 outputs wide, one row for every input of each panel of
  64 outputs (`pack_panels` of `seqlab.kernels.decode`), layer after layer;
- `tiles`: 16 channels wide, rows (layer, block, tap or state): filters, their biases, A * log2(e)
  and D; `state` likewise, rows (layer, sequence, block, tap or state);
- `norms`: one row per layer and the last norm;
- buffers, all padded with zeros to whole panels: `stream` for the residual stream, its norm, and
  the shares of out_proj, row (part, task, sequence); `middle` for the shares of x_proj and their
  sum, likewise; `inner` for u, z and the step, row (part, sequence).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from seqlab.kernels.decode import PANEL
from seqlab.kernels.jit import device, kernel
from seqlab.kernels.panel_product import panel_product
from seqlab.kernels.simd import LANES, add, fma, largest, load, mul, splat, store, total
from seqlab.kernels.simd_math import exp2_nonpositive, exp_minus_abs, sigmoid_of, softplus_of

BLOCKS = PANEL // LANES
# Entries of `plan`: sizes, then first rows in `panels`, `tiles` and `state`.
TASKS, LAYERS, WIDTH, TAPS, RANK, STATES, VOCABULARY = range(7)
W_IN, B_IN, W_X, W_DT, B_DT, W_OUT, B_OUT, W_HEAD = range(7, 15)
FILTER, FILTER_BIAS, DECAY, SKIP = range(15, 19)
SSM = 19
# An int64, not a literal: numba would compile a callee anew for each argument that is a literal.
_ORIGIN = np.int64(0)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@device
def _fill(out: Any, row: int, rows: int, col: int, panels: Any, bias_row: int) -> None:
    """Set 64 columns of `rows` rows of `out` to the bias of one panel."""
    for r in range(row, row + rows):
        for lane in range(0, PANEL, LANES):
            store(out, r, col + lane, load(panels, bias_row, lane))


@device
def _clear(out: Any, row: int, rows: int) -> None:
    for r in range(row, row + rows):
        for col in range(0, out.shape[1], LANES):
            store(out, r, col, splat(_ZERO))


@device
def _add_shares(out: Any, row: int, shares_row: int, tasks: int, rows: int) -> None:
    """Add the shares of all tasks to `rows` rows of the same buffer, always in the tasks' order."""
    for r in range(rows):
        for col in range(0, out.shape[1], LANES):
            value = load(out, row + r, col)
            for task in range(tasks):
                value = add(value, load(out, shares_row + task * rows + r, col))
            store(out, row + r, col, value)


@device
def _normalise(
    stream: Any, row: int, out_row: int, rows: int, norms: Any, layer: int, width: int, epsilon: Any
) -> None:
    """RMSNorm of `rows` rows; the columns beyond `width` hold zeros and stay so."""
    for r in range(rows):
        square = splat(_ZERO)
        for col in range(0, stream.shape[1], LANES):
            value = load(stream, row + r, col)
            square = fma(value, value, square)
        mean = total(square) / np.float32(width)
        scale = splat(_ONE / np.float32(np.sqrt(mean + epsilon)))
        for col in range(0, stream.shape[1], LANES):
            value = mul(load(stream, row + r, col), scale)
            store(stream, out_row + r, col, mul(load(norms, layer, col), value))


@device
def _embed(tokens: Any, embedding: Any, stream: Any, row: int) -> None:
    for b in range(tokens.shape[0]):
        token = tokens[b, 0]
        for col in range(embedding.shape[1]):
            stream[row + b, col] = embedding[token, col]


@device
def _convolve(plan: Any, layer: int, block: int, tiles: Any, inner: Any, state: Any) -> None:
    """Push one block of 16 channels of u into the state and replace it by SiLU(convolution)."""
    batch, blocks, taps = inner.shape[0] // 3, inner.shape[1] // LANES, plan[TAPS]
    filters = plan[FILTER] + (layer * blocks + block) * taps
    bias = load(tiles, plan[FILTER_BIAS] + layer * blocks + block, 0)
    for b in range(batch):
        base = ((layer * batch + b) * blocks + block) * taps
        value = bias
        for j in range(taps - 1):
            moved = load(state, base + j + 1, 0)
            store(state, base + j, 0, moved)
            value = fma(moved, load(tiles, filters + j, 0), value)
        newest = load(inner, b, block * LANES)
        store(state, base + taps - 1, 0, newest)
        value = fma(newest, load(tiles, filters + taps - 1, 0), value)
        store(inner, b, block * LANES, mul(value, sigmoid_of(value, exp_minus_abs(value))))


@device
def _scan(
    plan: Any, layer: int, block: int, tiles: Any, middle: Any, row: int, inner: Any, state: Any
) -> None:
    """Advance one block of 16 channels by one token; u becomes the gated output."""
    batch, blocks = inner.shape[0] // 3, inner.shape[1] // LANES
    rank, states, col = plan[RANK], plan[STATES], block * LANES
    decays = plan[DECAY] + (layer * blocks + block) * states
    skip = load(tiles, plan[SKIP] + layer * blocks + block, 0)
    for b in range(batch):
        base = plan[SSM] + ((layer * batch + b) * blocks + block) * states
        x = load(inner, 2 * batch + b, col)
        dt = softplus_of(x, exp_minus_abs(x))
        value = load(inner, b, col)
        dtu = mul(dt, value)
        y = mul(skip, value)
        for n in range(states):
            decay = exp2_nonpositive(mul(dt, load(tiles, decays + n, 0)))
            drive = mul(dtu, splat(middle[row + b, rank + n]))
            h = fma(decay, load(state, base + n, 0), drive)
            store(state, base + n, 0, h)
            y = fma(h, splat(middle[row + b, rank + states + n]), y)
        gate = load(inner, batch + b, col)
        store(inner, b, col, mul(y, mul(gate, sigmoid_of(gate, exp_minus_abs(gate)))))


@device
def _enter_layer(
    plan: Any,
    layer: int,
    task: int,
    epsilon: Any,
    tokens: Any,
    embedding: Any,
    panels: Any,
    tiles: Any,
    norms: Any,
    stream: Any,
    middle: Any,
    inner: Any,
    state: Any,
) -> None:
    """Take a task's channels from the residual stream to the task's share of x_proj."""
    tasks, width, batch = plan[TASKS], plan[WIDTH], tokens.shape[0]
    count = inner.shape[1] // PANEL
    first, last = task * count // tasks, (task + 1) * count // tasks
    row, normed = task * batch, (tasks + task) * batch
    if layer == 0:
        _embed(tokens, embedding, stream, row)
    else:
        _add_shares(stream, row, 2 * tasks * batch, tasks, batch)
    _normalise(stream, row, normed, batch, norms, layer, width, epsilon)
    for panel in range(first, last):
        for part in range(2):
            col, number = panel * PANEL, (2 * layer + part) * count + panel
            _fill(inner, part * batch, batch, col, panels, plan[B_IN] + number)
            w_row = plan[W_IN] + number * width
            panel_product(
                stream, normed, _ORIGIN, width, panels, w_row, inner, part * batch, col, batch
            )
        for block in range(panel * BLOCKS, (panel + 1) * BLOCKS):
            _convolve(plan, layer, block, tiles, inner, state)
    _clear(middle, row, batch)
    start, depth = first * PANEL, (last - first) * PANEL
    groups = middle.shape[1] // PANEL
    for group in range(groups):
        w_row = plan[W_X] + (layer * groups + group) * inner.shape[1] + start
        panel_product(
            inner, _ORIGIN, start, depth, panels, w_row, middle, row, group * PANEL, batch
        )


@device
def _leave_layer(
    plan: Any,
    layer: int,
    task: int,
    panels: Any,
    tiles: Any,
    stream: Any,
    middle: Any,
    inner: Any,
    state: Any,
) -> None:
    """Take a task's channels from x_proj to the task's share of out_proj."""
    tasks, rank, batch = plan[TASKS], plan[RANK], inner.shape[0] // 3
    count = inner.shape[1] // PANEL
    first, last = task * count // tasks, (task + 1) * count // tasks
    summed, share = (tasks + task) * batch, (2 * tasks + task) * batch
    _clear(middle, summed, batch)
    _add_shares(middle, summed, _ORIGIN, tasks, batch)
    for panel in range(first, last):
        col, number = panel * PANEL, layer * count + panel
        _fill(inner, 2 * batch, batch, col, panels, plan[B_DT] + number)
        w_row = plan[W_DT] + number * rank
        panel_product(middle, summed, _ORIGIN, rank, panels, w_row, inner, 2 * batch, col, batch)
        for block in range(panel * BLOCKS, (panel + 1) * BLOCKS):
            _scan(plan, layer, block, tiles, middle, summed, inner, state)
    _clear(stream, share, batch)
    start, depth = first * PANEL, (last - first) * PANEL
    groups = stream.shape[1] // PANEL
    for group in range(groups):
        if task == 0:
            _fill(stream, share, batch, group * PANEL, panels, plan[B_OUT] + layer * groups + group)
        w_row = plan[W_OUT] + (layer * groups + group) * inner.shape[1] + start
        panel_product(
            inner, _ORIGIN, start, depth, panels, w_row, stream, share, group * PANEL, batch
        )


@device
def _head(
    plan: Any, task: int, epsilon: Any, panels: Any, norms: Any, stream: Any, logits: Any
) -> None:
    """Compute a task's panels of the logits."""
    tasks, width, batch = plan[TASKS], plan[WIDTH], logits.shape[0]
    row, normed = task * batch, (tasks + task) * batch
    _add_shares(stream, row, 2 * tasks * batch, tasks, batch)
    _normalise(stream, row, normed, batch, norms, plan[LAYERS], width, epsilon)
    count = logits.shape[1] // PANEL
    for panel in range(task * count // tasks, (task + 1) * count // tasks):
        for b in range(batch):
            for col in range(panel * PANEL, (panel + 1) * PANEL, LANES):
                store(logits, b, col, splat(_ZERO))
        w_row = plan[W_HEAD] + panel * width
        col = panel * PANEL
        panel_product(stream, normed, _ORIGIN, width, panels, w_row, logits, _ORIGIN, col, batch)


@device
def _first_largest(logits: Any, row: int, vocabulary: int) -> int:
    """Return the index of the largest of the first `vocabulary` logits, the first of equals."""
    best = logits[row, 0]
    index = 0
    whole = vocabulary // LANES * LANES
    for col in range(0, whole, LANES):
        if largest(load(logits, row, col)) > best:
            for lane in range(col, col + LANES):
                if logits[row, lane] > best:
                    best = logits[row, lane]
                    index = lane
    for col in range(whole, vocabulary):
        if logits[row, col] > best:
            best = logits[row, col]
            index = col
    return index


@device
def _stage(
    plan: Any,
    stage: int,
    task: int,
    epsilon: Any,
    tokens: Any,
    embedding: Any,
    panels: Any,
    tiles: Any,
    norms: Any,
    stream: Any,
    middle: Any,
    inner: Any,
    state: Any,
    logits: Any,
) -> None:
    """Do a task's part of one stage: two for each layer, and the head."""
    layer = stage // 2
    if layer == plan[LAYERS]:
        _head(plan, task, epsilon, panels, norms, stream, logits)
    elif stage % 2 == 0:
        _enter_layer(
            plan,
            layer,
            task,
            epsilon,
            tokens,
            embedding,
            panels,
            tiles,
            norms,
            stream,
            middle,
            inner,
            state,
        )
    else:
        _leave_layer(plan, layer, task, panels, tiles, stream, middle, inner, state)


_TOKENS = "int64[:, :], int64[:, :]"
_ARRAYS = ", ".join(["float32[:, :]"] * 9)


@kernel(f"void({_TOKENS}, int64[:], float32, {_ARRAYS})")
def decode_greedily(
    tokens: Any,
    out: Any,
    plan: Any,
    epsilon: Any,
    embedding: Any,
    panels: Any,
    tiles: Any,
    norms: Any,
    stream: Any,
    middle: Any,
    inner: Any,
    state: Any,
    logits: Any,
) -> None:
    """Feed the given tokens, then every token that comes out, until `out` is full.

    Args:
        tokens: (B, 1) int64, the last token of each sequence, not yet fed; overwritten.
        out: (B, M) int64, written: the M tokens that follow greedily.
        plan: Sizes and rows, see the constants of this module.
        epsilon: Of the norms.
        embedding: (V, H).
        panels, tiles, norms: Packed weights.
        stream, middle, inner: Buffers.
        state: Advanced by M tokens.
        logits: (B, padded V), written: those of the last token fed.
    """
    batch, count = out.shape
    tasks, layers, vocabulary = plan[TASKS], plan[LAYERS], plan[VOCABULARY]
    for step in range(count):
        for stage in range(2 * layers + 1):
            # One parallel loop, not three: numba compiles everything below each of them anew. The
            # cast keeps the type the index had before the loop was made parallel.
            for task in prange(tasks):
                _stage(
                    plan,
                    stage,
                    np.int64(task),
                    epsilon,
                    tokens,
                    embedding,
                    panels,
                    tiles,
                    norms,
                    stream,
                    middle,
                    inner,
                    state,
                    logits,
                )
        for b in range(batch):
            tokens[b, 0] = _first_largest(logits, b, vocabulary)
            out[b, step] = tokens[b, 0]
