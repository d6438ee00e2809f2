"""K1 and K2: products of a sparse float32 weight with an operand, Y (O, T) = W (O, I) X (I, T).

K1 stores W row by row (CSR): an element (c, v) of row r adds v X[c, :] to Y[r, :]. X is row-major,
so an element touches T contiguous floats, and which rows of X stay in cache depends on the order
of the columns. K3 (tokens x active neurons) and K4 (nodes x neighbours) are the same product.

K2 stores W in square tiles (BSR) and visits the non-empty ones; its work is their number, which
depends on the order of rows and columns. Tiles are stored column by column, so that the weights of
one input are contiguous.

Both keep 64 columns of Y in registers while they walk a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from numba import prange
from torch import Tensor

from seqlab.kernels.jit import device, follow_torch_threads, kernel
from seqlab.kernels.simd import (
    LANES,
    add,
    fma,
    load,
    load_part,
    splat,
    store,
    store_four,
    store_part,
)

TILES = (8, 16, 32, 64)
_BLOCK = 4 * LANES
# Tasks per thread: enough to even out rows that differ, few enough to cost nothing.
_TASKS_PER_THREAD = 8


@dataclass(frozen=True)
class CsrWeight:
    """A weight (O, I) stored row by row.

    Attributes:
        shape: (O, I).
        indptr: (O + 1,) int32, start of each row.
        indices: (stored,) int32, columns, ascending within a row.
        values: (stored,) float32.
    """

    shape: tuple[int, int]
    indptr: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    @classmethod
    def of(cls, weight: Tensor | npt.NDArray[Any] | scipy.sparse.sparray) -> CsrWeight:
        """Store the non-zero elements of a matrix (O, I), which is left as it is.

        Raises:
            ValueError: There are more of them than 32-bit indices can count.
        """
        matrix = _compressed(weight)
        return cls(
            (int(matrix.shape[0]), int(matrix.shape[1])),
            matrix.indptr.astype(np.int32),
            matrix.indices.astype(np.int32),
            matrix.data,
        )

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return W X for X (I, T) float32.

        Raises:
            ValueError: X is not a float32 matrix of I rows on the CPU.
        """
        operand, out = _operands(self.shape, x)
        bounds = _tasks(self.indptr)
        _csr_kernel(self.indptr, self.indices, self.values, operand, out.numpy(), bounds)
        return out


@dataclass(frozen=True)
class BsrWeight:
    """A weight (O, I) stored in tiles of tile x tile.

    Attributes:
        shape: (O, I), both multiples of `tile`.
        tile: Edge of a tile, one of `TILES`.
        indptr: (O / tile + 1,) int32, start of each row of tiles.
        indices: (tiles,) int32, tile columns, ascending within a row.
        values: (tiles * tile, tile) float32; row j * tile + k holds what input k of tile j gives to
            its `tile` outputs.
        stored: Non-zero elements.
    """

    shape: tuple[int, int]
    tile: int
    indptr: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    stored: int

    @classmethod
    def of(cls, weight: Tensor | npt.NDArray[Any] | scipy.sparse.sparray, tile: int) -> BsrWeight:
        """Store the tiles of a matrix (O, I) that are not all zero.

        Raises:
            ValueError: The tile is none of `TILES`, or does not divide both O and I, or there are
                more elements than 32-bit indices can count.
        """
        matrix = _compressed(weight)
        if tile not in TILES:
            raise ValueError(f"tile {tile}, allowed {TILES}")
        if matrix.shape[0] % tile or matrix.shape[1] % tile:
            raise ValueError(f"tiles of {tile} do not divide a weight of {matrix.shape}")
        stored = matrix.nnz
        blocks = matrix.tobsr(blocksize=(tile, tile))
        blocks.sort_indices()
        values = np.ascontiguousarray(blocks.data.transpose(0, 2, 1)).reshape(-1, tile)
        return cls(
            (int(matrix.shape[0]), int(matrix.shape[1])),
            tile,
            blocks.indptr.astype(np.int32),
            blocks.indices.astype(np.int32),
            values,
            int(stored),
        )

    @property
    def tiles(self) -> int:
        """Number of non-empty tiles."""
        return len(self.indices)

    @property
    def fill(self) -> float | None:
        """Share of the stored tiles' elements that are not zero; None without tiles."""
        return self.stored / (self.tiles * self.tile**2) if self.tiles else None

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return W X for X (I, T) float32.

        Raises:
            ValueError: X is not a float32 matrix of I rows on the CPU.
        """
        operand, out = _operands(self.shape, x)
        bounds = _tasks(self.indptr)
        _bsr_kernel(self.indptr, self.indices, self.values, operand, out.numpy(), bounds)
        return out


def _compressed(weight: Any) -> scipy.sparse.csr_array:
    """Return a copy without explicit zeros and repeats, indices ascending."""
    plain = weight.detach().numpy() if isinstance(weight, Tensor) else weight
    matrix = scipy.sparse.csr_array(plain, dtype=np.float32, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if matrix.nnz > np.iinfo(np.int32).max:
        raise ValueError(f"{matrix.nnz} elements are more than 32-bit indices can count")
    return matrix


def _operands(shape: tuple[int, int], x: Tensor) -> tuple[npt.NDArray[np.float32], Tensor]:
    if x.dim() != 2 or x.dtype != torch.float32 or x.device.type != "cpu":
        raise ValueError(f"operand {tuple(x.shape)} {x.dtype} on {x.device}, not float32 (I, T)")
    if x.shape[0] != shape[1]:
        raise ValueError(f"a weight of {shape} and an operand of {tuple(x.shape)}")
    return x.detach().contiguous().numpy(), torch.empty(shape[0], x.shape[1])


def _tasks(indptr: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the bounds of runs of rows with about equally much work, and pin numba's threads."""
    follow_torch_threads()
    threads = torch.get_num_threads()
    rows = len(indptr) - 1
    if threads == 1:
        return np.array([0, rows], np.int64)
    tasks = min(rows, threads * _TASKS_PER_THREAD)
    # A row costs its elements and one more, so that empty rows spread as well.
    work = indptr.astype(np.int64) + np.arange(rows + 1)
    bounds = np.searchsorted(work, np.linspace(0, work[-1], tasks + 1))
    return np.maximum.accumulate(bounds)


@device
def _csr_block(
    indptr: Any, indices: Any, values: Any, x: Any, y: Any, row: int, column: int
) -> None:
    """Compute 64 columns of one row of Y; two elements at a time hide each other's latency."""
    # Unsigned indices here and below, so that numba does not look whether one counts from the end:
    # a third of the time at 16 columns.
    zero = splat(np.float32(0.0))
    a0, a1, a2, a3 = zero, zero, zero, zero
    b0, b1, b2, b3 = zero, zero, zero, zero
    index, last = np.uint32(indptr[row]), np.uint32(indptr[row + 1])
    one, two = np.uint32(1), np.uint32(2)
    while index + two <= last:
        c, d = indices[index], indices[index + one]
        v, w = splat(values[index]), splat(values[index + one])
        a0 = fma(v, load(x, c, column), a0)
        a1 = fma(v, load(x, c, column + 16), a1)
        a2 = fma(v, load(x, c, column + 32), a2)
        a3 = fma(v, load(x, c, column + 48), a3)
        b0 = fma(w, load(x, d, column), b0)
        b1 = fma(w, load(x, d, column + 16), b1)
        b2 = fma(w, load(x, d, column + 32), b2)
        b3 = fma(w, load(x, d, column + 48), b3)
        index += two
    if index < last:
        c, v = indices[index], splat(values[index])
        a0 = fma(v, load(x, c, column), a0)
        a1 = fma(v, load(x, c, column + 16), a1)
        a2 = fma(v, load(x, c, column + 32), a2)
        a3 = fma(v, load(x, c, column + 48), a3)
    store_four(y, row, column, add(a0, b0), add(a1, b1), add(a2, b2), add(a3, b3))


@device
def _csr_vector(
    indptr: Any, indices: Any, values: Any, x: Any, y: Any, row: int, column: int
) -> None:
    """Compute 16 columns of one row of Y; one register alone would wait for its own sum."""
    zero = splat(np.float32(0.0))
    a0, a1, a2, a3 = zero, zero, zero, zero
    index, last = np.uint32(indptr[row]), np.uint32(indptr[row + 1])
    one, two, three, four = np.uint32(1), np.uint32(2), np.uint32(3), np.uint32(4)
    while index + four <= last:
        a0 = fma(splat(values[index]), load(x, indices[index], column), a0)
        a1 = fma(splat(values[index + one]), load(x, indices[index + one], column), a1)
        a2 = fma(splat(values[index + two]), load(x, indices[index + two], column), a2)
        a3 = fma(splat(values[index + three]), load(x, indices[index + three], column), a3)
        index += four
    while index < last:
        a0 = fma(splat(values[index]), load(x, indices[index], column), a0)
        index += one
    store(y, row, column, add(add(a0, a1), add(a2, a3)))


@device
def _csr_part(
    indptr: Any, indices: Any, values: Any, x: Any, y: Any, row: int, column: int
) -> None:
    """Compute the last columns of one row of Y, fewer than 16."""
    count = x.shape[1] - column
    none = np.float32(0.0)
    total = splat(none)
    for index in range(indptr[row], indptr[row + 1]):
        part = load_part(x, indices[index], column, count, none)
        total = fma(splat(values[index]), part, total)
    store_part(y, row, column, count, total)


@device
def _bsr_block(
    indptr: Any, indices: Any, values: Any, x: Any, y: Any, tile_row: int, top: int, column: int
) -> None:
    """Compute 4 rows and 64 columns of Y: 16 sums in registers, four loads for 16 products."""
    tile = values.shape[1]
    zero = splat(np.float32(0.0))
    a0, a1, a2, a3 = zero, zero, zero, zero
    b0, b1, b2, b3 = zero, zero, zero, zero
    c0, c1, c2, c3 = zero, zero, zero, zero
    d0, d1, d2, d3 = zero, zero, zero, zero
    for index in range(indptr[tile_row], indptr[tile_row + 1]):
        first, weight = indices[index] * tile, index * tile
        for k in range(tile):
            x0, x1 = load(x, first + k, column), load(x, first + k, column + 16)
            x2, x3 = load(x, first + k, column + 32), load(x, first + k, column + 48)
            v = splat(values[weight + k, top])
            a0, a1, a2, a3 = fma(v, x0, a0), fma(v, x1, a1), fma(v, x2, a2), fma(v, x3, a3)
            v = splat(values[weight + k, top + 1])
            b0, b1, b2, b3 = fma(v, x0, b0), fma(v, x1, b1), fma(v, x2, b2), fma(v, x3, b3)
            v = splat(values[weight + k, top + 2])
            c0, c1, c2, c3 = fma(v, x0, c0), fma(v, x1, c1), fma(v, x2, c2), fma(v, x3, c3)
            v = splat(values[weight + k, top + 3])
            d0, d1, d2, d3 = fma(v, x0, d0), fma(v, x1, d1), fma(v, x2, d2), fma(v, x3, d3)
    row = tile_row * tile + top
    store_four(y, row, column, a0, a1, a2, a3)
    store_four(y, row + 1, column, b0, b1, b2, b3)
    store_four(y, row + 2, column, c0, c1, c2, c3)
    store_four(y, row + 3, column, d0, d1, d2, d3)


@device
def _bsr_vector(
    indptr: Any,
    indices: Any,
    values: Any,
    x: Any,
    y: Any,
    tile_row: int,
    top: int,
    column: int,
    count: int,
) -> None:
    """Compute 8 rows and up to 16 columns of Y."""
    tile = values.shape[1]
    none = np.float32(0.0)
    zero = splat(none)
    s0, s1, s2, s3 = zero, zero, zero, zero
    s4, s5, s6, s7 = zero, zero, zero, zero
    for index in range(indptr[tile_row], indptr[tile_row + 1]):
        first, weight = indices[index] * tile, index * tile
        for k in range(tile):
            if count == LANES:
                part = load(x, first + k, column)
            else:
                part = load_part(x, first + k, column, count, none)
            w = weight + k
            s0 = fma(splat(values[w, top]), part, s0)
            s1 = fma(splat(values[w, top + 1]), part, s1)
            s2 = fma(splat(values[w, top + 2]), part, s2)
            s3 = fma(splat(values[w, top + 3]), part, s3)
            s4 = fma(splat(values[w, top + 4]), part, s4)
            s5 = fma(splat(values[w, top + 5]), part, s5)
            s6 = fma(splat(values[w, top + 6]), part, s6)
            s7 = fma(splat(values[w, top + 7]), part, s7)
    row = tile_row * tile + top
    store_part(y, row, column, count, s0)
    store_part(y, row + 1, column, count, s1)
    store_part(y, row + 2, column, count, s2)
    store_part(y, row + 3, column, count, s3)
    store_part(y, row + 4, column, count, s4)
    store_part(y, row + 5, column, count, s5)
    store_part(y, row + 6, column, count, s6)
    store_part(y, row + 7, column, count, s7)


@kernel("void(int32[:], int32[:], float32[:], float32[:, :], float32[:, :], int64[:])")
def _csr_kernel(indptr: Any, indices: Any, values: Any, x: Any, y: Any, bounds: Any) -> None:
    for task in prange(bounds.shape[0] - 1):
        for row in range(bounds[task], bounds[task + 1]):
            column = 0
            while column + _BLOCK <= x.shape[1]:
                _csr_block(indptr, indices, values, x, y, row, column)
                column += _BLOCK
            while column + LANES <= x.shape[1]:
                _csr_vector(indptr, indices, values, x, y, row, column)
                column += LANES
            if column < x.shape[1]:
                _csr_part(indptr, indices, values, x, y, row, column)


@kernel("void(int32[:], int32[:], float32[:, :], float32[:, :], float32[:, :], int64[:])")
def _bsr_kernel(indptr: Any, indices: Any, values: Any, x: Any, y: Any, bounds: Any) -> None:
    tile = values.shape[1]
    for task in prange(bounds.shape[0] - 1):
        for tile_row in range(bounds[task], bounds[task + 1]):
            column = 0
            while column + _BLOCK <= x.shape[1]:
                for top in range(0, tile, 4):
                    _bsr_block(indptr, indices, values, x, y, tile_row, top, column)
                column += _BLOCK
            while column < x.shape[1]:
                count = min(LANES, x.shape[1] - column)
                for top in range(0, tile, 8):
                    _bsr_vector(indptr, indices, values, x, y, tile_row, top, column, count)
                column += LANES
