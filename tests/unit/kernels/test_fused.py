"""Fused convolution, norm, cross-entropy and linear layer against PyTorch in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import prange
from torch.nn import functional

from seqlab.kernels import linear as linear_module
from seqlab.kernels import simd_math
from seqlab.kernels.arrays import from_state_tiles, rows, state_tiles, tiles
from seqlab.kernels.conv import causal_conv_silu
from seqlab.kernels.cross_entropy import cross_entropy
from seqlab.kernels.jit import device, kernel
from seqlab.kernels.linear import linear
from seqlab.kernels.norm import rms_norm
from seqlab.kernels.simd import load_part, store_part


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check(ours, reference, inputs, bound=1e-6):
    """Compare values and gradients of both on the same inputs, ours in float32."""
    results = []
    for function, dtype in ((ours, torch.float32), (reference, torch.float64)):
        given = [x.to(dtype).clone().requires_grad_() for x in inputs]
        y = function(*given)
        weight = draw(*y.shape, seed=5).to(dtype) if y.ndim else torch.tensor(1.7, dtype=dtype)
        (y * weight).sum().backward()
        results.append([y, *(x.grad for x in given)])
        with torch.no_grad():
            assert torch.equal(function(*given), y)
    for got, expected in zip(*results, strict=True):
        difference = got.detach().double() - expected.detach()
        error = difference.norm() / expected.detach().norm().clamp(min=1e-30)
        assert float(error) < bound


@device
def _functions_row(x, y, row):
    for column in range(0, x.shape[1], 16):
        count = min(16, x.shape[1] - column)
        value = load_part(x, row, column, count, np.float32(0.0))
        e = simd_math.exp_minus_abs(value)
        store_part(y, 0, column, count, e)
        store_part(y, 1, column, count, simd_math.sigmoid_of(value, e))
        store_part(y, 2, column, count, simd_math.softplus_of(value, e))


@kernel("void(float32[:, :], float32[:, :])")
def _functions(x, y):
    for row in prange(x.shape[0]):
        _functions_row(x, y, row)


def test_vector_functions_against_numpy():
    x = np.linspace(-80, 80, 1003, dtype=np.float32)[None]
    y = np.full((3, 1003), np.nan, np.float32)
    _functions(x, y)
    exact = x[0].astype(np.float64)
    expected = np.exp(-abs(exact)), 1 / (1 + np.exp(-exact)), np.logaddexp(0, exact)
    near = abs(exact) < 10
    for got, value in zip(y, expected, strict=True):
        error = abs(got / value - 1)
        # Far out the rounding of x * log2(e) is what remains.
        assert error.max() < 5e-6
        assert error[near].max() < 6e-7


def conv_reference(x, weight, bias=None):
    padded = functional.pad(x.transpose(1, 2), (weight.shape[1] - 1, 0))
    y = functional.conv1d(padded, weight[:, None], bias, groups=weight.shape[0])
    return functional.silu(y).transpose(1, 2)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("tokens", "channels"), [(11, 37), (2, 16)])
def test_convolution(width, tokens, channels):
    inputs = draw(2, tokens, channels), draw(channels, width), draw(channels)
    check(lambda x, w, b: causal_conv_silu(x, w, b, "numba"), conv_reference, inputs)


def test_convolution_without_bias_on_a_slice_over_two_groups():
    def ours(x, weight):
        return causal_conv_silu(x[..., :133], weight, None, "numba")

    inputs = draw(1, 5, 140), draw(133, 4)
    check(ours, lambda x, weight: conv_reference(x[..., :133], weight), inputs)


def test_convolution_wants_one_filter_per_channel():
    with pytest.raises(ValueError, match="3 filters for 4 channels"):
        causal_conv_silu(draw(1, 2, 4), draw(3, 2), None, "numba")


def norm_reference(x, weight):
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5)


@pytest.mark.parametrize("shape", [(2, 9, 37), (1, 40, 16), (3, 5)])
def test_norm(shape):
    inputs = draw(*shape), draw(shape[-1], seed=1)
    check(lambda x, w: rms_norm(x, w, 1e-5, "numba"), norm_reference, inputs, 2e-6)
    check(lambda x, w: rms_norm(x, w, 1e-5, "torch"), norm_reference, inputs, 2e-6)


@pytest.mark.parametrize("vocabulary", [5, 16, 37])
def test_cross_entropy(vocabulary):
    targets = torch.arange(12).reshape(2, 6) % vocabulary
    targets[0, 1] = -100

    def reference(logits):
        flat = logits.flatten(0, 1)
        return functional.cross_entropy(flat, targets.flatten())

    inputs = (draw(2, 6, vocabulary) * 5,)
    check(lambda x: cross_entropy(x, targets, "numba"), reference, inputs)
    check(lambda x: cross_entropy(x, targets, "torch"), reference, inputs)


def test_cross_entropy_of_large_logits_and_of_nothing():
    logits = torch.tensor([[1e4, 0.0, -1e4], [-3e4, -3e4, -3e4]])
    loss = cross_entropy(logits, torch.tensor([0, 2]), "numba")
    assert float(loss) == pytest.approx(np.log(3) / 2, rel=1e-6)
    ignored = torch.full((2,), -100)
    assert torch.isnan(cross_entropy(logits, ignored, "numba"))
    with pytest.raises(IndexError, match="outside"):
        cross_entropy(logits, torch.tensor([0, 3]), "numba")


@pytest.mark.parametrize("smallest", [0, 1 << 40], ids=["onednn", "pytorch"])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(monkeypatch, smallest, bias):
    monkeypatch.setattr(linear_module, "_SMALLEST_PRODUCT", smallest)
    inputs = [draw(2, 7, 12), draw(5, 12, seed=1)] + [draw(5, seed=2)] * bias
    check(linear, functional.linear, inputs)


def test_linear_of_a_slice_and_only_wanted_gradients(monkeypatch):
    monkeypatch.setattr(linear_module, "_SMALLEST_PRODUCT", 0)
    x, weight = draw(3, 4, 20), draw(6, 9).requires_grad_()
    y = linear(x[..., 5:14], weight)
    y.backward(draw(3, 4, 6, seed=4))
    expected = draw(3, 4, 6, seed=4).flatten(0, 1).t() @ x[..., 5:14].flatten(0, 1)
    assert torch.allclose(weight.grad, expected, atol=1e-5)
    assert torch.allclose(y, x[..., 5:14] @ weight.t(), atol=1e-5)


def test_linear_in_other_types_is_pytorch():
    x, weight = draw(3, 4).double(), draw(2, 4).double()
    assert torch.equal(linear(x, weight), functional.linear(x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(draw(3, 4), draw(2, 4)).dtype == torch.bfloat16


def test_tiles_and_back():
    state = draw(2, 37, 5)
    packed = state_tiles(state)
    assert packed.shape == (2, 3, 5, 16)
    assert torch.equal(from_state_tiles(packed, 37), state)
    assert float(packed[:, 2, :, 5:].abs().sum()) == 0
    assert tiles(torch.arange(4.0)).tolist() == [[0, 1, 2, 3] + [0] * 12]


def test_rows_view_where_possible():
    wide = draw(2, 3, 8)
    assert np.shares_memory(rows(wide[..., 2:6]), wide.numpy())
    assert np.array_equal(rows(wide.transpose(0, 2)), wide.transpose(0, 2).reshape(-1, 2).numpy())
