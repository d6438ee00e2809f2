"""K2 on a GPU: the product of a tiled weight that visits its non-empty tiles only, in Triton.

A program computes one row of tiles for one block of columns of Y (O, T) = W (O, I) X (I, T) and
sums in float32, so the work is the number of non-empty tiles times T. X is read where it lies,
row-major or column-major, and Y gets the same order: tokens before features need no transposition.
Triton is imported when a product runs on a GPU; on CPU the same loop runs in torch, for tests.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import scipy.sparse
import torch
from torch import Tensor

from seqlab.kernels.sparse_cuda import check_operand, nonzero_tiles

# A product of Triton has 16 or more rows, columns and summands.
TRITON_TILES = (16, 32, 64)
_LEAST, _MOST = 16, 64


@dataclass(frozen=True)
class TileWeight:
    """A weight (O, I) stored in tiles of tile x tile on its device.

    Attributes:
        shape: (O, I), both multiples of `tile`.
        tile: Edge of a tile, one of `TRITON_TILES`.
        indptr: (O / tile + 1,) int32, start of each row of tiles.
        indices: (tiles,) int32, tile columns, ascending within a row.
        values: (tiles, tile, tile), as they stand in the weight.
        stored: Non-zero elements.
    """

    shape: tuple[int, int]
    tile: int
    indptr: Tensor
    indices: Tensor
    values: Tensor
    stored: int

    @classmethod
    def of(cls, weight: Tensor | npt.NDArray[Any] | scipy.sparse.sparray, tile: int) -> TileWeight:
        """Store the tiles of a matrix (O, I) that are not all zero.

        A tensor keeps its device and type; other matrices become float32 on the CPU.

        Raises:
            ValueError: The tile is none of `TRITON_TILES`, or does not divide both O and I, or
                there are more elements than 32-bit indices can count.
        """
        if tile not in TRITON_TILES:
            raise ValueError(f"tile {tile}, allowed {TRITON_TILES}")
        indptr, indices, values = nonzero_tiles(weight, tile)
        shape = (int(weight.shape[0]), int(weight.shape[1]))
        return cls(shape, tile, indptr, indices, values, int(torch.count_nonzero(values)))

    @property
    def tiles(self) -> int:
        """Number of non-empty tiles."""
        return len(self.indices)

    @property
    def fill(self) -> float | None:
        """Share of the stored tiles' elements that are not zero; None without tiles."""
        return self.stored / (self.tiles * self.tile**2) if self.tiles else None

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return W X for X (I, T) of the weight's type and device, in the memory order of X.

        Float32 is multiplied as torch multiplies dense float32 (`float32_matmul_precision`).

        Raises:
            ValueError: X is no such matrix.
        """
        check_operand(self.shape, self.values, x)
        if x.device.type == "cpu":
            return loop_product(self, x)
        from seqlab.kernels.tile_triton_kernel import launch

        y = like_operand(x, self.shape[0])
        precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
        block = columns_per_program(x.shape[1])
        launch(self.indptr, self.indices, self.values, x.detach(), y, block, precision)
        return y


def triton_importable() -> bool:
    """Tell whether Triton is installed, without importing it."""
    return importlib.util.find_spec("triton") is not None


def columns_per_program(tokens: int) -> int:
    """Return how many columns a program computes: a power of two that wastes little of a few."""
    return min(_MOST, max(_LEAST, 1 << max(tokens - 1, 0).bit_length()))


def like_operand(x: Tensor, rows: int) -> Tensor:
    """Return an empty (rows, T) in the memory order of X (I, T)."""
    if x.stride(0) == 1 and x.stride(1) != 1:
        return x.new_empty(x.shape[1], rows).t()
    return x.new_empty(rows, x.shape[1])


def loop_product(weight: TileWeight, x: Tensor) -> Tensor:
    """Return W X by the loop of the Triton kernel, written in torch: slow, for tests."""
    tile, tokens = weight.tile, x.shape[1]
    block = columns_per_program(tokens)
    starts, columns = weight.indptr.tolist(), weight.indices.tolist()
    y = like_operand(x, weight.shape[0])
    for row in range(len(starts) - 1):
        for left in range(0, tokens, block):
            part = x[:, left : left + block].detach().float()
            total = part.new_zeros(tile, part.shape[1])
            for index in range(starts[row], starts[row + 1]):
                top = columns[index] * tile
                total += weight.values[index].float() @ part[top : top + tile]
            y[row * tile : (row + 1) * tile, left : left + block] = total.to(y.dtype)
    return y
