"""K4: sums over the neighbours of a node, Y = A X, with gradients.

On CPU in float32 both directions are the sparse product K1 (`seqlab.kernels.sparse`); elsewhere
torch's CSR product. Which rows of X stay in cache depends on the order of the nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqlab.kernels.sparse import CsrWeight


@dataclass(frozen=True)
class Adjacency:
    """A weighted adjacency matrix (N, N); row v lists the neighbours that v sums over.

    Attributes:
        weight: The matrix as CSR.
    """

    weight: CsrWeight

    @classmethod
    def of(cls, matrix: scipy.sparse.sparray) -> Adjacency:
        """Store a sparse matrix (N, N)."""
        return cls(CsrWeight.of(matrix))

    @property
    def nodes(self) -> int:
        """Number of nodes N."""
        return self.weight.shape[0]

    @property
    def edges(self) -> int:
        """Number of stored entries."""
        return len(self.weight.indices)

    def scipy(self) -> scipy.sparse.csr_array:
        """Return the matrix as scipy's CSR; it shares memory."""
        weight = self.weight
        return scipy.sparse.csr_array(
            (weight.values, weight.indices, weight.indptr), shape=weight.shape
        )

    @cached_property
    def transposed(self) -> CsrWeight:
        """The transpose, which the gradient needs."""
        return CsrWeight.of(self.scipy().T.tocsr())

    def tensor(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the matrix as torch's CSR tensor; each type and device has one that is kept."""
        if (dtype, device) not in self._tensors:
            weight = self.weight
            self._tensors[dtype, device] = torch.sparse_csr_tensor(
                torch.from_numpy(weight.indptr),
                torch.from_numpy(weight.indices),
                torch.from_numpy(weight.values).to(dtype),
                weight.shape,
                check_invariants=False,
            ).to(device)
        return self._tensors[dtype, device]

    @cached_property
    def _tensors(self) -> dict[tuple[torch.dtype, torch.device], Tensor]:
        return {}

    def permuted(self, order: npt.NDArray[np.integer[Any]]) -> Adjacency:
        """Return the matrix with its nodes reordered, `order[new] = old`."""
        return Adjacency.of(self.scipy()[order][:, order])


def aggregate(adjacency: Adjacency, x: Tensor) -> Tensor:
    """Return A x for features x (N, C) of any floating type and device."""
    if x.dtype == torch.float32 and x.device.type == "cpu":
        product: Tensor = _Aggregate.apply(adjacency, x)
        return product
    return adjacency.tensor(x.dtype, x.device) @ x


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, adjacency: Adjacency, x: Tensor) -> Tensor:
        ctx.adjacency = adjacency
        return adjacency.weight @ x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[None, Tensor]:
        return None, ctx.adjacency.transposed @ grad_y
