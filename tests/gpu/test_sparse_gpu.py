"""The sparse products on a GPU against the dense one; nothing here is timed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from seqlab.kernels.sparse_cuda import BsrTensor, CsrTensor
from seqlab.kernels.tile_triton import (
    TRITON_TILES,
    TileWeight,
    like_operand,
    loop_product,
    triton_importable,
)
from seqlab.models.sparse_linear import apply_masks, resolve_backend, use_kernel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Sparse (CSR|BSR):UserWarning"),
]
needs_triton = pytest.mark.skipif(not triton_importable(), reason="needs Triton")
# Relative to the largest result: sums are in float32, and a result is rounded once.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.fixture(autouse=True)
def full_precision():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def weight_of(density: float, tile: int, dtype: torch.dtype) -> torch.Tensor:
    """A weight (256, 384) of tiles that are empty or half full; one row of tiles is empty."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 384, generator=generator)
    kept = torch.rand(256 // tile, 384 // tile, generator=generator) < density
    kept[1] = False
    weight *= kept.repeat_interleave(tile, 0).repeat_interleave(tile, 1)
    weight *= torch.rand(256, 384, generator=generator) < 0.5
    return weight.to("cuda", dtype)


def operand(width: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(384, width, generator=generator).to("cuda", dtype)


def check(product: torch.Tensor, weight: torch.Tensor, x: torch.Tensor) -> None:
    expected = weight.double() @ x.double()
    assert product.dtype == x.dtype
    assert product.device == x.device
    error = (product.double() - expected).abs().max()
    assert float(error) <= TOLERANCE[x.dtype] * max(float(expected.abs().max()), 1e-6)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("width", [1, 16, 100, 512])
def test_csr_equals_dense(width: int, density: float, dtype: torch.dtype) -> None:
    weight, x = weight_of(density, 16, dtype), operand(width, dtype)
    stored = CsrTensor.of(weight)
    check(stored @ x, weight, x)
    check(stored @ x.t().contiguous().t(), weight, x)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("width", [1, 16, 100, 512])
@pytest.mark.parametrize("tile", [8, 16, 32, 64])
def test_bsr_of_torch_equals_dense(
    tile: int, width: int, density: float, dtype: torch.dtype
) -> None:
    weight, x = weight_of(density, tile, dtype), operand(width, dtype)
    check(BsrTensor.of(weight, tile) @ x, weight, x)


@needs_triton
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("width", [1, 16, 100, 512])
@pytest.mark.parametrize("tile", TRITON_TILES)
def test_tiles_equal_dense(tile: int, width: int, density: float, dtype: torch.dtype) -> None:
    weight, x = weight_of(density, tile, dtype), operand(width, dtype)
    stored = TileWeight.of(weight, tile)
    for given in (x, x.t().contiguous().t(), operand(2 * width, dtype)[:, ::2]):
        product = stored @ given
        check(product, weight, given)
        assert product.stride() == like_operand(given, 256).stride()


@needs_triton
@pytest.mark.parametrize("tile", TRITON_TILES)
def test_tiles_equal_the_loop_in_torch(tile: int) -> None:
    weight, x = weight_of(0.3, tile, torch.float32), operand(70, torch.float32)
    stored = TileWeight.of(weight, tile)
    torch.testing.assert_close(stored @ x, loop_product(stored, x), rtol=1e-5, atol=1e-4)


@needs_triton
def test_tf32_is_used_only_where_dense_products_use_it() -> None:
    weight, x = weight_of(1.0, 32, torch.float32), operand(512, torch.float32)
    stored, exact = TileWeight.of(weight, 32), weight.double() @ x.double()
    full = float(((stored @ x).double() - exact).norm() / exact.norm())
    torch.set_float32_matmul_precision("high")
    short = float(((stored @ x).double() - exact).norm() / exact.norm())
    assert full < 1e-6
    assert short < 2e-3
    if torch.cuda.get_device_capability() >= (8, 0):
        assert short > 10 * full


def test_csr_is_a_product_of_cusparse() -> None:
    stored, x = CsrTensor.of(weight_of(0.3, 16, torch.float32)), operand(64, torch.float32)
    stored @ x
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        stored @ x
        torch.cuda.synchronize()
    names = [event.key.lower() for event in profile.key_averages()]
    assert any("cusparse" in name or "csrmm" in name for name in names), names


BACKENDS = {"dense": "dense", "csr": "cusparse", "bsr8": "torch", "bsr16_torch": "torch"} | {
    f"bsr{tile}": "triton" if triton_importable() else "torch" for tile in TRITON_TILES
}


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = {"linear": nn.Linear(128, 192), "pointwise": nn.Conv2d(128, 192, 1, stride=2)}
    result = nn.ModuleDict(layers).cuda()
    masks = {name: torch.rand(192, 128, device="cuda") < 0.2 for name in layers}
    apply_masks(result, masks)
    return result


@pytest.mark.parametrize("kernel", BACKENDS)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_layers_equal_their_dense_ones(kernel: str, dtype: torch.dtype) -> None:
    dense = model().to(dtype)
    sparse = copy.deepcopy(dense)
    use_kernel(sparse, list(sparse), kernel)
    generator = torch.Generator("cuda").manual_seed(1)
    inputs = {"linear": (3, 37, 128), "pointwise": (2, 128, 15, 14)}
    for name, shape in inputs.items():
        x = torch.randn(shape, generator=generator, device="cuda").to(dtype)
        assert sparse[name].backend == BACKENDS[kernel]
        with torch.inference_mode():
            got, expected = sparse[name](x), copy.deepcopy(dense[name]).double()(x.double())
        assert (got.dtype, got.shape) == (dtype, expected.shape)
        error = float((got.double() - expected).abs().max() / expected.abs().max())
        assert error <= 2 * TOLERANCE[dtype], name


@pytest.mark.parametrize("kernel", ["csr", "bsr32"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_gives_its_own_type(kernel: str, dtype: torch.dtype) -> None:
    dense = model()
    sparse = copy.deepcopy(dense)
    use_kernel(sparse, list(sparse), kernel)
    x = torch.randn(5, 128, device="cuda")
    with torch.inference_mode(), torch.autocast("cuda", dtype):
        got, expected = sparse["linear"](x), dense["linear"](x)
    assert got.dtype == expected.dtype == dtype
    error = (got.float() - expected.float()).abs().max() / expected.float().abs().max()
    assert float(error) <= 2 * TOLERANCE[dtype]


def test_a_layer_follows_its_weight_to_the_gpu() -> None:
    layers = model().cpu()
    x = torch.randn(5, 128)
    sparse = use_kernel(layers, ["linear"], "csr")["linear"]
    expected = sparse(x)
    assert sparse.backend == "numba"
    sparse.cuda()
    assert sparse.backend == resolve_backend("csr", "cuda", torch.float32) == "cusparse"
    torch.testing.assert_close(sparse(x.cuda()).cpu(), expected, rtol=1e-4, atol=1e-4)
