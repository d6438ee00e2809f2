"""The tile-skipping product: its loop against the dense product, its kernel against its loop."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.sparse
import torch
import triton_by_hand

from seqlab.kernels.tile_triton import (
    TRITON_TILES,
    TileWeight,
    columns_per_program,
    loop_product,
    triton_importable,
)

KERNEL = "seqlab.kernels.tile_triton_kernel"


@pytest.fixture
def by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[triton_by_hand.Language, Callable[..., None]]]:
    """The kernel's launch and the language that it runs in, without Triton."""
    monkeypatch.delitem(sys.modules, KERNEL, raising=False)
    language = triton_by_hand.install(monkeypatch)
    yield language, importlib.import_module(KERNEL).launch
    del sys.modules[KERNEL]


def tiled(rows: int, columns: int, tile: int, share: float, seed: int = 0) -> torch.Tensor:
    """A weight of which `share` of the tiles are kept, some elements of them zero."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    kept = torch.rand(rows // tile, columns // tile, generator=generator) < share
    holes = torch.rand(rows, columns, generator=generator) < 0.3
    mask = kept.repeat_interleave(tile, 0).repeat_interleave(tile, 1)
    return weight * mask * ~holes


def operand(rows: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1)).to(dtype)


def check(product: torch.Tensor, weight: torch.Tensor, x: torch.Tensor) -> None:
    expected = weight.double() @ x.double()
    tolerance = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[x.dtype]
    assert product.dtype == x.dtype
    scale = float(expected.abs().max())
    torch.testing.assert_close(product.double(), expected, rtol=0, atol=tolerance * scale + 1e-12)


@pytest.mark.parametrize("tile", TRITON_TILES)
@pytest.mark.parametrize("width", [1, 16, 33, 64, 130])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_loop_equals_the_dense_product(tile: int, width: int, share: float) -> None:
    weight, x = tiled(128, 192, tile, share), operand(192, width)
    check(TileWeight.of(weight, tile) @ x, weight, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    weight, x = tiled(32, 512, 16, 0.8).to(dtype), operand(512, 20, dtype)
    product = TileWeight.of(weight, 16) @ x
    check(product, weight, x)
    # Nearly all results are the exact sum, rounded once.
    once = (weight.double() @ x.double()).to(dtype)
    assert (product == once).double().mean() > 0.98


@pytest.mark.parametrize("tile", TRITON_TILES)
@pytest.mark.parametrize("width", [1, 16, 33, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("token_major", [False, True])
def test_the_kernel_equals_the_loop(
    tile: int,
    width: int,
    dtype: torch.dtype,
    token_major: bool,
    by_hand: tuple[triton_by_hand.Language, Callable[..., None]],
) -> None:
    language, launch = by_hand
    weight = tiled(128, 192, tile, 0.3).to(dtype)
    x = operand(192, width, dtype)
    if token_major:
        x = x.t().contiguous().t()
    stored = TileWeight.of(weight, tile)
    expected = loop_product(stored, x)
    block = columns_per_program(width)
    y = torch.full_like(expected, float("nan"))
    assert y.stride() == expected.stride()
    launch(stored.indptr, stored.indices, stored.values, x, y, block, "ieee")
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2)
    check(y, weight, x)
    # One product for each non-empty tile and block of columns, none for the others.
    assert language.products == [(tile, tile, block)] * (stored.tiles * -(-width // block))


def test_the_kernel_reads_views_and_does_nothing_without_tokens(
    by_hand: tuple[triton_by_hand.Language, Callable[..., None]],
) -> None:
    language, launch = by_hand
    weight = tiled(32, 64, 16, 0.5)
    stored = TileWeight.of(weight, 16)
    x = operand(80, 50)[7:71, 3::2]
    y = torch.full((40, x.shape[1]), 7.0)
    launch(stored.indptr, stored.indices, stored.values, x, y[4:36], 32, "tf32")
    check(y[4:36], weight, x)
    assert (y[:4] == 7).all()
    assert (y[36:] == 7).all()
    language.products.clear()
    launch(stored.indptr, stored.indices, stored.values, x[:, :0], y[4:36, :0], 16, "ieee")
    assert language.products == []


INTERPRETED = """
import torch
from seqlab.kernels.tile_triton import TileWeight, loop_product
from seqlab.kernels.tile_triton_kernel import launch
torch.manual_seed(0)
for tile in (16, 32, 64):
    weight = torch.randn(128, 192)
    mask = torch.rand(128 // tile, 192 // tile) < 0.4
    weight *= mask.repeat_interleave(tile, 0).repeat_interleave(tile, 1)
    stored, x = TileWeight.of(weight, tile), torch.randn(192, 41)
    y = torch.full((128, 41), float("nan"))
    launch(stored.indptr, stored.indices, stored.values, x, y, 16, "ieee")
    torch.testing.assert_close(y, loop_product(stored, x), rtol=0, atol=1e-4)
print("equal")
"""


@pytest.mark.skipif(not triton_importable(), reason="Triton is not installed")
def test_the_kernel_in_tritons_own_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def test_importing_needs_no_triton_and_no_cuda() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import seqlab.kernels.tile_triton, seqlab.kernels.sparse_cuda, torch\n"
        "print(torch.cuda.is_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr[-2000:]


def test_other_matrices_are_stored_alike() -> None:
    weight = tiled(64, 96, 32, 0.5)
    ours = TileWeight.of(weight, 32)
    for kind in (np.asarray, scipy.sparse.coo_array):
        other = TileWeight.of(kind(weight.numpy()), 32)
        for name in ("indptr", "indices", "values"):
            assert torch.equal(getattr(ours, name), getattr(other, name))
        assert (other.shape, other.stored, other.fill) == (ours.shape, ours.stored, ours.fill)
    assert ours.fill == pytest.approx(int((weight != 0).sum()) / (ours.tiles * 32**2))
    assert TileWeight.of(torch.zeros(16, 16), 16).fill is None


@pytest.mark.parametrize(("tokens", "columns"), [(0, 16), (1, 16), (17, 32), (64, 64), (900, 64)])
def test_a_program_computes_a_power_of_two_of_columns(tokens: int, columns: int) -> None:
    assert columns_per_program(tokens) == columns


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TileWeight.of(torch.zeros(16, 16), 8), "allowed"),
        (lambda: TileWeight.of(torch.zeros(24, 16), 16), "do not divide"),
        (lambda: TileWeight.of(torch.zeros(16, 16), 16) @ torch.zeros(15, 2), "operand of"),
        (lambda: TileWeight.of(torch.zeros(16, 16), 16) @ torch.zeros(16), "not torch.float32"),
        (lambda: TileWeight.of(torch.zeros(16, 16), 16) @ torch.zeros(16, 2).half(), "float16"),
    ],
)
def test_bad_input_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
