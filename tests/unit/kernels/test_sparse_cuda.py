"""Torch's sparse products on CPU against the dense product and against our own."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from seqlab.kernels.sparse import TILES, BsrWeight, CsrWeight
from seqlab.kernels.sparse_cuda import BsrTensor, CsrTensor, check_count

pytestmark = pytest.mark.filterwarnings("ignore:Sparse (CSR|BSR):UserWarning")


def sparse(rows: int, columns: int, density: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, columns, generator=generator)
    return weight * (torch.rand(rows, columns, generator=generator) < density)


def operand(rows: int, width: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("width", [1, 17, 64])
@pytest.mark.parametrize("density", [0.0, 0.05, 1.0])
def test_csr_equals_the_dense_product_and_our_own(width: int, density: float) -> None:
    weight, x = sparse(37, 51, density), operand(51, width)
    stored, own = CsrTensor.of(weight), CsrWeight.of(weight)
    torch.testing.assert_close(stored @ x, weight @ x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stored @ x, own @ x, rtol=1e-4, atol=1e-5)
    assert stored.shape == own.shape
    parts = (stored.matrix.crow_indices(), stored.matrix.col_indices(), stored.matrix.values())
    assert [part.dtype for part in parts] == [torch.int32, torch.int32, torch.float32]
    for part, name in zip(parts, ("indptr", "indices", "values"), strict=True):
        assert np.array_equal(part.numpy(), getattr(own, name))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("width", [1, 20, 64])
@pytest.mark.parametrize("density", [0.0, 0.002, 0.3])
def test_bsr_equals_the_dense_product_and_our_own(tile: int, width: int, density: float) -> None:
    weight, x = sparse(192, 128, density), operand(128, width)
    stored, own = BsrTensor.of(weight, tile), BsrWeight.of(weight, tile)
    torch.testing.assert_close(stored @ x, weight @ x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stored @ x, own @ x, rtol=1e-4, atol=1e-5)
    assert (stored.shape, stored.tile, stored.tiles) == (own.shape, own.tile, own.tiles)
    assert torch.equal(stored.matrix.to_dense(), weight)


def test_matrices_of_numpy_and_scipy_are_the_same() -> None:
    weight, x = sparse(32, 48, 0.2), operand(48, 5)
    for kind in (np.asarray, scipy.sparse.coo_array):
        other = kind(weight.numpy())
        torch.testing.assert_close(CsrTensor.of(other) @ x, CsrTensor.of(weight) @ x)
        torch.testing.assert_close(BsrTensor.of(other, 16) @ x, BsrTensor.of(weight, 16) @ x)


def test_the_weight_that_is_stored_is_copied_and_keeps_its_type() -> None:
    weight, x = sparse(16, 32, 0.5).double(), operand(32, 3).double()
    before = weight.clone()
    forms = [CsrTensor.of(weight), BsrTensor.of(weight, 8)]
    weight.fill_(7.0)
    for form in forms:
        assert (form @ x).dtype == torch.float64
        torch.testing.assert_close(form @ x, before @ x)


def test_operands_may_be_views() -> None:
    weight, x = sparse(8, 16, 0.5), operand(5, 16).t()
    torch.testing.assert_close(CsrTensor.of(weight) @ x, weight @ x)
    torch.testing.assert_close(BsrTensor.of(weight, 8) @ x, weight @ x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BsrTensor.of(torch.zeros(12, 16), 8), "do not divide"),
        (lambda: BsrTensor.of(torch.zeros(16, 16), 4), "allowed"),
        (lambda: CsrTensor.of(torch.zeros(8, 16)) @ torch.zeros(15, 2), "operand of"),
        (lambda: CsrTensor.of(torch.zeros(8, 16)) @ torch.zeros(16), "not torch.float32"),
        (lambda: BsrTensor.of(torch.zeros(8, 16), 8) @ torch.zeros(16, 2).double(), "float64"),
        (lambda: CsrTensor.of(torch.zeros(8, 16)) @ torch.zeros(16, 2, device="meta"), "on meta"),
        (lambda: check_count(2**31), "32-bit"),
    ],
)
def test_bad_input_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
