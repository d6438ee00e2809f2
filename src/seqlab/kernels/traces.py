"""Address traces of the kernels whose loads depend on the layout, and of a dense one.

Input: the index arrays of a kernel. Output: pieces `(addresses, writes)` of its trace, in the order
in which the kernel loads and stores: uint64 byte addresses and booleans. Every array starts on a
page of its own; the address of an element is base + index x itemsize. One access is one load or
store instruction: 4 bytes of an index or a scalar, up to 64 bytes of a row of operands (one vector
register of 16 floats). Weights and operands are float32, indices int32.

K1 and K2 follow the register blocks of `seqlab.kernels.sparse`. K0 is a model: the dense product
that is timed is a library's, and packs its operands; what it has in common with the model is that
no address depends on the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Piece = tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]
Trace = Iterator[Piece]
Integers = npt.NDArray[Any]

VECTOR_BYTES = 64
_LANES = 16
# Rows of Y that K2 computes at once, for 64 columns and for 16.
_WIDE_ROWS, _NARROW_ROWS = 4, 8
_PAGE_BYTES = 4096
_ITEM = 4
_PIECE = 1 << 20


class AddressMap:
    """Gives every array a page-aligned base, in the order of the calls."""

    def __init__(self) -> None:
        self._next = _PAGE_BYTES

    def place(self, items: int, itemsize: int = _ITEM) -> int:
        """Return the base address of an array of `items` elements of `itemsize` bytes."""
        base = self._next
        self._next += -(-max(items * itemsize, 1) // _PAGE_BYTES) * _PAGE_BYTES
        return base


def csr_spmm(indptr: Integers, indices: Integers, columns: int, width: int) -> Trace:
    """Trace K1, Y = W X: for each stored (c, v) of a row, `Y[r, :] += v * X[c, :]`.

    K3 (tokens x active neurons) and K4 (nodes x neighbours) are this product as well.

    Args:
        indptr: (rows + 1,) start of each row.
        indices: (stored,) column of each stored element.
        columns: Rows of X.
        width: T, columns of X and Y.

    Raises:
        ValueError: Rows of X would straddle cache lines: T neither divides 16 nor is a multiple.
    """
    rows = len(indptr) - 1
    bases = _bases(len(indptr), len(indices), len(indices), columns * width, rows * width)
    blocks = _column_blocks(width)
    vectors = -(-blocks[:, 1] // VECTOR_BYTES)
    cost = len(blocks) + vectors.sum() + np.diff(indptr) * (2 * len(blocks) + vectors.sum())
    starts, inner = np.asarray(indptr, np.int64), np.asarray(indices, np.int64)

    def fill(first: int, last: int, addresses: Any, writes: Any) -> None:
        _csr_spmm(starts, inner, first, last, width * _ITEM, blocks, bases, addresses, writes)

    return _pieces(cost, fill)


def bsr_spmm(indptr: Integers, indices: Integers, tile: int, columns: int, width: int) -> Trace:
    """Trace K2: for each row of tiles, each non-empty tile times its rows of X.

    Args:
        indptr: (tile rows + 1,) start of each row of tiles.
        indices: (tiles,) tile column of each stored tile.
        tile: Edge of a tile.
        columns: Rows of X.
        width: T, columns of X and Y.

    Raises:
        ValueError: Rows of X would straddle cache lines: T neither divides 16 nor is a multiple.
    """
    rows, stored = (len(indptr) - 1) * tile, len(indices) * tile * tile
    bases = _bases(len(indptr), len(indices), stored, columns * width, rows * width)
    blocks = _column_blocks(width)
    wide = blocks[:, 1] > VECTOR_BYTES
    groups = np.where(wide, tile // _WIDE_ROWS, tile // _NARROW_ROWS)
    loads = np.where(wide, 4 + _WIDE_ROWS, 1 + _NARROW_ROWS)
    stores = np.where(wide, 4 * _WIDE_ROWS, _NARROW_ROWS)
    per_row, per_tile = (groups * (1 + stores)).sum(), (groups * (1 + tile * loads)).sum()
    cost = per_row + np.diff(indptr) * per_tile
    starts, inner = np.asarray(indptr, np.int64), np.asarray(indices, np.int64)

    def fill(first: int, last: int, addresses: Any, writes: Any) -> None:
        _bsr_spmm(starts, inner, tile, first, last, width * _ITEM, blocks, bases, addresses, writes)

    return _pieces(cost, fill)


def gather_scalars(indptr: Integers, indices: Integers, neurons: int) -> Trace:
    """Trace the scalar half of K3: each token reads `h[i]` and `bias[i]` of its active neurons.

    Args:
        indptr: (tokens + 1,) start of each token's list.
        indices: (active,) positions of the active neurons, in the order they are read.
        neurons: Length of h and bias.
    """
    bases = _bases(len(indices), neurons, neurons)
    starts, inner = np.asarray(indptr, np.int64), np.asarray(indices, np.int64)

    def fill(first: int, last: int, addresses: Any, writes: Any) -> None:
        _gather_scalars(inner, starts[first], starts[last], bases, addresses)

    return _pieces(3 * np.diff(indptr), fill)


def dense_gemm(rows: int, columns: int, width: int, block: int = 4) -> Trace:
    """Trace a model of K0, Y = W X in register blocks of `block` rows.

    Args:
        rows: Rows of W.
        columns: Columns of W and rows of X.
        width: T, columns of X and Y.
        block: Rows of W that share the loads of X.

    Raises:
        ValueError: Rows of X would straddle cache lines: T neither divides 16 nor is a multiple.
    """
    _column_blocks(width)
    bases = _bases(rows * columns, columns * width, rows * width)
    vectors = -(-width * _ITEM // VECTOR_BYTES)
    heights = np.minimum(block, rows - np.arange(0, rows, block))
    cost = vectors * (columns * (1 + heights) + heights)

    def fill(first: int, last: int, addresses: Any, writes: Any) -> None:
        _dense_gemm(rows, columns, block, first, last, width * _ITEM, bases, addresses, writes)

    return _pieces(cost, fill)


def random_walk(
    indptr: Integers, indices: Integers, steps: int, seed: int
) -> npt.NDArray[np.int64]:
    """Return the nodes that a walk over a graph visits, (steps,).

    Args:
        indptr: (nodes + 1,) start of each node's neighbours.
        indices: (edges,) neighbours.
        steps: Visits; the walk starts at a random node, and anew where a node has no neighbour.
        seed: Of the walk.
    """
    rng = np.random.default_rng(seed)
    nodes = np.empty(steps, np.int64)
    _walk(
        np.asarray(indptr, np.int64),
        np.asarray(indices, np.int64),
        rng.random(steps),
        rng.integers(0, len(indptr) - 1, steps),
        nodes,
    )
    return nodes


def _bases(*items: int) -> npt.NDArray[np.int64]:
    """Return the base addresses of arrays of so many elements, in the order of the kernel's."""
    place = AddressMap().place
    return np.array([place(count) for count in items], np.int64)


def _column_blocks(width: int) -> npt.NDArray[np.int64]:
    """Return (first byte, bytes) of the column blocks of a row: 64 columns, then 16 at a time."""
    if width < 1 or (width % _LANES and _LANES % width):
        raise ValueError(f"rows of {width} floats straddle lines of {VECTOR_BYTES} bytes")
    starts = list(range(0, width - width % (4 * _LANES), 4 * _LANES))
    starts += range(len(starts) * 4 * _LANES, width, _LANES)
    ends = [*starts[1:], width]
    spans = [(start, end - start) for start, end in zip(starts, ends, strict=True)]
    return np.array(spans, np.int64) * _ITEM


def _pieces(cost: Integers, fill: Callable[[int, int, Any, Any], None]) -> Trace:
    """Yield the trace of as many tasks at a time as fit a piece; at least one.

    Args:
        cost: (tasks,) accesses of each task.
        fill: (first task, last task, addresses, writes): writes the accesses of the tasks.
    """
    ends = np.concatenate([[0], np.cumsum(cost, dtype=np.int64)])
    first = 0
    while first < len(cost):
        last = int(np.searchsorted(ends, ends[first] + _PIECE, side="right")) - 1
        last = max(last, first + 1)
        count = int(ends[last] - ends[first])
        addresses, writes = np.empty(count, np.uint64), np.zeros(count, np.bool_)
        fill(first, last, addresses, writes)
        if count:
            yield addresses, writes
        first = last


@njit(cache=True, nogil=True)
def _csr_spmm(
    indptr: Any,
    indices: Any,
    first: int,
    last: int,
    row_bytes: int,
    blocks: Any,
    bases: Any,
    addresses: Any,
    writes: Any,
) -> None:
    starts, columns, values, operand, result = bases
    at = 0
    for row in range(first, last):
        for left, span in blocks:
            addresses[at] = starts + (row + 1) * _ITEM
            at += 1
            for index in range(indptr[row], indptr[row + 1]):
                addresses[at] = columns + index * _ITEM
                addresses[at + 1] = values + index * _ITEM
                at += 2
                for offset in range(left, left + span, VECTOR_BYTES):
                    addresses[at] = operand + indices[index] * row_bytes + offset
                    at += 1
            for offset in range(left, left + span, VECTOR_BYTES):
                addresses[at] = result + row * row_bytes + offset
                writes[at] = True
                at += 1


@njit(cache=True, nogil=True)
def _bsr_spmm(
    indptr: Any,
    indices: Any,
    tile: int,
    first: int,
    last: int,
    row_bytes: int,
    blocks: Any,
    bases: Any,
    addresses: Any,
    writes: Any,
) -> None:
    starts, columns, values, operand, result = bases
    at = 0
    for row in range(first, last):
        for left, span in blocks:
            height = _WIDE_ROWS if span > VECTOR_BYTES else _NARROW_ROWS
            for top in range(0, tile, height):
                addresses[at] = starts + (row + 1) * _ITEM
                at += 1
                for index in range(indptr[row], indptr[row + 1]):
                    addresses[at] = columns + index * _ITEM
                    at += 1
                    for k in range(tile):
                        x = operand + (indices[index] * tile + k) * row_bytes + left
                        for offset in range(0, span, VECTOR_BYTES):
                            addresses[at] = x + offset
                            at += 1
                        for r in range(top, top + height):
                            addresses[at] = values + ((index * tile + k) * tile + r) * _ITEM
                            at += 1
                for r in range(top, top + height):
                    for offset in range(0, span, VECTOR_BYTES):
                        addresses[at] = result + (row * tile + r) * row_bytes + left + offset
                        writes[at] = True
                        at += 1


@njit(cache=True, nogil=True)
def _gather_scalars(indices: Any, first: int, last: int, bases: Any, addresses: Any) -> None:
    active, hidden, bias = bases
    at = 0
    for index in range(first, last):
        addresses[at] = active + index * _ITEM
        addresses[at + 1] = hidden + indices[index] * _ITEM
        addresses[at + 2] = bias + indices[index] * _ITEM
        at += 3


@njit(cache=True, nogil=True)
def _dense_gemm(
    rows: int,
    columns: int,
    block: int,
    first: int,
    last: int,
    row_bytes: int,
    bases: Any,
    addresses: Any,
    writes: Any,
) -> None:
    weight, operand, result = bases
    at = 0
    for task in range(first, last):
        top, bottom = task * block, min((task + 1) * block, rows)
        for offset in range(0, row_bytes, VECTOR_BYTES):
            for k in range(columns):
                addresses[at] = operand + k * row_bytes + offset
                at += 1
                for r in range(top, bottom):
                    addresses[at] = weight + (r * columns + k) * _ITEM
                    at += 1
            for r in range(top, bottom):
                addresses[at] = result + r * row_bytes + offset
                writes[at] = True
                at += 1


@njit(cache=True, nogil=True)
def _walk(indptr: Any, indices: Any, draws: Any, starts: Any, nodes: Any) -> None:
    node = starts[0]
    for step in range(nodes.shape[0]):
        nodes[step] = node
        first, last = indptr[node], indptr[node + 1]
        if first == last:
            node = starts[step]
        else:
            node = indices[first + np.int64(draws[step] * (last - first))]
