import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import UserError
from seqlab.kernels.quantized import (
    GEMV_ROWS,
    PackedWeight,
    pack_codes,
    quantized_linear,
    unpack_codes,
)


def case(n_out, n_groups, group, bits, seed=0):
    """Return (packed weight, dequantised fp64 weight in current order (O, I))."""
    rng = np.random.default_rng(seed)
    n_in = n_groups * group
    lowest = -(2 ** (bits - 1))
    codes = rng.integers(lowest, -lowest, (n_out, n_in)).astype(np.int8)
    scales = rng.uniform(0.1, 1.0, (n_groups, n_out)).astype(np.float32)
    order = rng.permutation(n_in)
    weight = np.empty((n_out, n_in))
    for j in range(n_in):
        weight[:, order[j]] = codes[:, j] * scales[j // group].astype(np.float64)
    return packed(codes, scales, order, bits, group), torch.from_numpy(weight)


def packed(codes, scales, order, bits, group):
    codes, scales, order = (torch.as_tensor(values) for values in (codes, scales, order))
    return PackedWeight(pack_codes(codes, bits=bits, group=group), scales, order, bits, group)


def activations(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@settings(max_examples=30, deadline=None)
@given(
    n_out=st.integers(1, 21),
    n_groups=st.integers(1, 3),
    group=st.integers(1, 17),
    bits=st.sampled_from([8, 4]),
    rows=st.sampled_from([1, 2, GEMV_ROWS, GEMV_ROWS + 1]),
    with_bias=st.booleans(),
)
def test_both_backends_against_the_fp64_product(n_out, n_groups, group, bits, rows, with_bias):
    stored, weight = case(n_out, n_groups, group, bits)
    x = activations(rows, n_groups * group)
    bias = activations(n_out) if with_bias else None
    expected = x.double() @ weight.T + (0 if bias is None else bias.double())
    size = (x.double().abs() @ weight.T.abs()).clamp(min=1)  # of the sums before cancellation
    for backend in ("numba", "torch"):
        product = quantized_linear(x, stored, bias, backend=backend)
        assert product.dtype == torch.float32 and product.shape == (rows, n_out)
        assert ((product - expected).abs() / size).max() < 2e-6, backend


@pytest.mark.parametrize("bits", [8, 4])
def test_wide_outputs_use_every_lane_and_its_tail(bits):
    stored, weight = case(67, 2, 16, bits)
    x = activations(32)
    product = quantized_linear(x, stored)
    torch.testing.assert_close(product.double(), weight @ x.double(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group", [1, 5, 8, 12])
def test_packing_is_reversible_and_padded_to_eight_columns(bits, group):
    rng = np.random.default_rng(2)
    lowest = -(2 ** (bits - 1))
    codes = torch.from_numpy(rng.integers(lowest, -lowest, (3, 2 * group)).astype(np.int8))
    stored = pack_codes(codes, bits=bits, group=group)
    padded = -(-group // 8) * 8
    assert stored.shape == (2 * padded * bits // 8, 3) and stored.dtype == torch.int8
    assert torch.equal(unpack_codes(stored, bits=bits, group=group, n_groups=2), codes)


@pytest.mark.parametrize("bits", [8, 4])
def test_every_code_survives_the_kernels(bits):
    lowest = -(2 ** (bits - 1))
    codes = torch.arange(lowest, -lowest, dtype=torch.int16).to(torch.int8).reshape(1, -1)
    n_in = codes.shape[1]
    stored = packed(codes, torch.ones(1, 1), torch.arange(n_in), bits, n_in)
    for j in range(0, n_in, 5):
        unit = torch.zeros(n_in)
        unit[j] = 1.0
        product = quantized_linear(unit, stored)
        assert product.item() == codes[0, j].item()
    expanded = quantized_linear(torch.eye(n_in), stored)
    assert torch.equal(expanded[:, 0], codes[0].float())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("rows", [1, GEMV_ROWS + 1])
def test_a_column_order_changes_index_values_only(bits, rows):
    """Moving columns together with the activations gives the very same bits."""
    stored, _ = case(9, 2, 8, bits)
    x = activations(rows, 16)
    move = torch.from_numpy(np.random.default_rng(7).permutation(16))
    plain = quantized_linear(x, stored)
    elsewhere = replace(stored, order=torch.argsort(move)[stored.order])
    moved = quantized_linear(x[:, move], elsewhere)
    if rows == 1:
        assert torch.equal(plain, moved)
    torch.testing.assert_close(plain, moved, rtol=1e-5, atol=1e-3)


def test_torch_backend_computes_in_the_type_of_its_input():
    stored, weight = case(5, 2, 6, 4)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.bfloat16, 0.05)):
        x = activations(3, 12, dtype=dtype)
        product = quantized_linear(x, stored, backend="torch")
        expected = x.double() @ weight.T
        assert product.dtype == dtype
        assert (product - expected).abs().max() <= tolerance * expected.abs().max()


def test_expand_equals_the_dequantised_weight():
    stored, weight = case(5, 2, 6, 8)
    assert torch.equal(stored.expand(torch.float64).T, weight)


def test_a_copy_reads_its_own_tensors():
    stored, _ = case(5, 2, 6, 8)
    x = activations(1, 12)
    expected = quantized_linear(x, stored)  # makes the views
    for copied in (copy.deepcopy(stored), pickle.loads(pickle.dumps(stored))):
        assert torch.equal(quantized_linear(x, copied), expected)
        copied.codes.zero_()
        assert quantized_linear(x, copied).abs().max() == 0
    assert torch.equal(quantized_linear(x, stored), expected)


def test_strided_activations():
    stored, _ = case(4, 2, 4, 8)
    wide = activations(3, 16)
    strided = quantized_linear(wide[:, ::2], stored)
    assert torch.equal(strided, quantized_linear(wide[:, ::2].contiguous(), stored))


def test_refusals():
    stored, _ = case(4, 2, 4, 8)
    x = activations(1, 8)
    with pytest.raises(UserError, match=r"unknown backend 'fast'.*numba, torch"):
        quantized_linear(x, stored, backend="fast")
    with pytest.raises(UserError, match=r"fp32 on the CPU, not torch\.float64"):
        quantized_linear(x.double(), stored)
    with pytest.raises(UserError, match="no gradient"):
        quantized_linear(x.requires_grad_(), stored)
    with torch.no_grad():
        assert quantized_linear(x, stored).shape == (1, 4)
