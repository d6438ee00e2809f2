"""K1 and K2 through torch, for weights that may live on a GPU: Y (O, T) = W (O, I) X (I, T).

`CsrTensor` on CUDA is cuSPARSE's SpMM, which accumulates half precision in float32. `BsrTensor` is
whatever torch runs for a BSR matrix, which is cuSPARSE's in float64 only: in float32 and half
precision it is torch's own Triton kernel where the tile has 16 or more rows and divides T, else
a gather, a batched product and a scattered sum (`_compressed_row_strided_addmm_out` in torch's
SparseBlasImpl.cpp). So it must not be reported as a product of cuSPARSE. On CPU both are MKL's, in
float32 and float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from torch import Tensor

from seqlab.kernels.sparse import TILES, BsrWeight, CsrWeight


@dataclass(frozen=True)
class CsrTensor:
    """A weight (O, I) stored row by row on its device.

    Attributes:
        matrix: (O, I), torch's CSR with int32 indices.
    """

    matrix: Tensor

    @classmethod
    def of(cls, weight: Tensor | npt.NDArray[Any] | scipy.sparse.sparray) -> CsrTensor:
        """Store the non-zero elements of a matrix (O, I).

        A tensor keeps its device and type; other matrices become float32 on the CPU.

        Raises:
            ValueError: There are more of them than 32-bit indices can count.
        """
        if isinstance(weight, Tensor):
            dense = weight.detach()
            rows, columns = dense.nonzero(as_tuple=True)
            check_count(len(rows))
            counts = torch.bincount(rows, minlength=dense.shape[0])
            indptr, indices, values = row_starts(counts), columns.int(), dense[rows, columns]
        else:
            csr = CsrWeight.of(weight)
            indptr, indices = torch.from_numpy(csr.indptr), torch.from_numpy(csr.indices)
            values = torch.from_numpy(csr.values)
        shape = tuple(weight.shape)
        return cls(torch.sparse_csr_tensor(indptr, indices, values, shape, check_invariants=False))

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return W X for X (I, T) of the weight's type and device.

        X is made row-major, so that an element reads T neighbours, as K1 does.

        Raises:
            ValueError: X is no such matrix.
        """
        check_operand(self.shape, self.matrix, x)
        return self.matrix @ x.detach().contiguous()


@dataclass(frozen=True)
class BsrTensor:
    """A weight (O, I) stored in tiles of tile x tile on its device, multiplied by torch.

    Attributes:
        matrix: (O, I), torch's BSR with int32 indices.
        tile: Edge of a tile, one of `TILES`.
    """

    matrix: Tensor
    tile: int

    @classmethod
    def of(cls, weight: Tensor | npt.NDArray[Any] | scipy.sparse.sparray, tile: int) -> BsrTensor:
        """Store the tiles of a matrix (O, I) that are not all zero.

        A tensor keeps its device and type; other matrices become float32 on the CPU.

        Raises:
            ValueError: The tile is none of `TILES`, or does not divide both O and I, or there are
                more elements than 32-bit indices can count.
        """
        parts = nonzero_tiles(weight, tile)
        shape = tuple(weight.shape)
        return cls(torch.sparse_bsr_tensor(*parts, shape, check_invariants=False), tile)

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def tiles(self) -> int:
        """Number of non-empty tiles."""
        return self.matrix.values().shape[0]

    def __matmul__(self, x: Tensor) -> Tensor:
        """Return W X for X (I, T) of the weight's type and device.

        Raises:
            ValueError: X is no such matrix.
        """
        check_operand(self.shape, self.matrix, x)
        return self.matrix @ x.detach().contiguous()


def nonzero_tiles(
    weight: Tensor | npt.NDArray[Any] | scipy.sparse.sparray, tile: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tiles of a matrix (O, I) that are not all zero.

    Returns:
        Start of each row of tiles (O / tile + 1,) int32, tile columns (tiles,) int32, ascending
        within a row, and the tiles (tiles, tile, tile) as they stand in the matrix.

    Raises:
        ValueError: As `BsrTensor.of`.
    """
    if not isinstance(weight, Tensor):
        bsr = BsrWeight.of(weight, tile)
        values = torch.from_numpy(bsr.values).reshape(-1, tile, tile).transpose(1, 2).contiguous()
        return torch.from_numpy(bsr.indptr), torch.from_numpy(bsr.indices), values
    if tile not in TILES:
        raise ValueError(f"tile {tile}, allowed {TILES}")
    outputs, inputs = weight.shape
    if outputs % tile or inputs % tile:
        raise ValueError(f"tiles of {tile} do not divide a weight of {tuple(weight.shape)}")
    blocks = weight.detach().reshape(outputs // tile, tile, inputs // tile, tile).transpose(1, 2)
    occupied = (blocks != 0).any(-1).any(-1)
    rows, columns = occupied.nonzero(as_tuple=True)
    check_count(len(rows) * tile**2)
    return row_starts(occupied.sum(1)), columns.int(), blocks[rows, columns].contiguous()


def row_starts(counts: Tensor) -> Tensor:
    """Return where each row starts (rows + 1,) int32, for the entries per row (rows,)."""
    starts = counts.new_zeros(len(counts) + 1, dtype=torch.int32)
    starts[1:] = counts.cumsum(0)
    return starts


def check_count(elements: int) -> None:
    """Refuse more elements than 32-bit indices can count.

    Raises:
        ValueError: There are too many.
    """
    if elements > np.iinfo(np.int32).max:
        raise ValueError(f"{elements} elements are more than 32-bit indices can count")


def check_operand(shape: tuple[int, int], values: Tensor, x: Tensor) -> None:
    """Refuse an operand that is no matrix of I rows of the type and on the device of the values.

    Raises:
        ValueError: It is not.
    """
    if x.dim() != 2 or x.dtype != values.dtype or x.device != values.device:
        raise ValueError(
            f"operand {tuple(x.shape)} {x.dtype} on {x.device}, not {values.dtype} (I, T) on "
            f"{values.device}"
        )
    if x.shape[0] != shape[1]:
        raise ValueError(f"a weight of {shape} and an operand of {tuple(x.shape)}")
