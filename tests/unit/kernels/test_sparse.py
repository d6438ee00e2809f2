"""K1 and K2 against the dense product, on ragged and empty inputs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from seqlab.kernels.sparse import BsrWeight, CsrWeight


def sparse(rows: int, columns: int, density: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, columns)).astype(np.float32)
    return weight * (rng.random((rows, columns)) < density)


def operand(rows: int, width: int) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(1).standard_normal((rows, width)).astype(np.float32)
    )


def check(product: torch.Tensor, weight: np.ndarray, x: torch.Tensor) -> None:
    expected = weight.astype(np.float64) @ x.numpy().astype(np.float64)
    np.testing.assert_allclose(product.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 64, 90, 128])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_csr_equals_the_dense_product(width: int, density: float, threads: int) -> None:
    weight, x = sparse(37, 51, density), operand(51, width)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(CsrWeight.of(weight) @ x, weight, x)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("tile", [8, 16, 32, 64])
@pytest.mark.parametrize("width", [1, 16, 20, 64, 70])
def test_bsr_equals_the_dense_product(tile: int, width: int) -> None:
    weight, x = sparse(3 * 64, 2 * 64, 0.004), operand(128, width)
    stored = BsrWeight.of(weight, tile)
    check(stored @ x, weight, x)
    occupied = weight.reshape(192 // tile, tile, 128 // tile, tile).any(axis=(1, 3))
    assert stored.tiles == occupied.sum()
    assert stored.fill == pytest.approx((weight != 0).sum() / (occupied.sum() * tile**2))


def test_an_empty_weight_gives_zeros() -> None:
    x = operand(16, 3)
    assert torch.equal(CsrWeight.of(np.zeros((8, 16))) @ x, torch.zeros(8, 3))
    empty = BsrWeight.of(np.zeros((8, 16)), 8)
    assert torch.equal(empty @ x, torch.zeros(8, 3))
    assert empty.fill is None


def test_operands_may_be_views() -> None:
    weight, x = sparse(8, 16, 0.5), operand(40, 16).t()[:, :40]
    check(CsrWeight.of(weight) @ x, weight, x)


def test_matrices_of_scipy_and_torch_are_the_same() -> None:
    weight = sparse(8, 16, 0.5)
    ours = [CsrWeight.of(kind(weight)) for kind in (np.asarray, torch.tensor)]
    ours.append(CsrWeight.of(scipy.sparse.coo_array(weight)))
    for other in ours[1:]:
        assert all(
            np.array_equal(getattr(ours[0], name), getattr(other, name))
            for name in ("indptr", "indices", "values")
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_matrix_that_is_stored_is_left_as_it_is(dtype: type) -> None:
    def unsorted() -> scipy.sparse.csr_array:
        values = np.array([1.0, 2.0, 0.0, 3.0, 3.0], dtype)
        return scipy.sparse.csr_array((values, [9, 0, 3, 5, 5], [0, 3] + [5] * 7), shape=(8, 16))

    matrix, x = unsorted(), operand(16, 4)
    stored = CsrWeight.of(matrix)
    tiled = BsrWeight.of(matrix, 8)
    for name in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(matrix, name), getattr(unsorted(), name))
    matrix.data[:] = 7.0
    check(stored @ x, unsorted().toarray(), x)
    check(tiled @ x, unsorted().toarray(), x)
    assert stored.indices.tolist() == [0, 9, 5]
    assert tiled.stored == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BsrWeight.of(np.zeros((12, 16)), 8), "do not divide"),
        (lambda: BsrWeight.of(np.zeros((16, 16)), 4), "allowed"),
        (lambda: CsrWeight.of(np.zeros((8, 16))) @ torch.zeros(15, 2), "operand of"),
        (lambda: CsrWeight.of(np.zeros((8, 16))) @ torch.zeros(16), "not float32"),
        (lambda: CsrWeight.of(np.zeros((8, 16))) @ torch.zeros(16, 2).double(), "not float32"),
    ],
)
def test_bad_input_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
