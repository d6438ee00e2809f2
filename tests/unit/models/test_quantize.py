import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mamba_oracle import OracleMamba, fixed_inputs, odd_config
from torch import nn

from seqlab.errors import UserError
from seqlab.layout.permutation import Permutation
from seqlab.models.quantize import QuantizedLinear, quantize, quantize_model

TINY = float(np.finfo(np.float32).tiny)


def brute_force(weight, group, per_tensor, q_max):
    """Quantise entry by entry in NumPy fp32 scalars."""
    n_out, n_in = weight.shape
    codes = np.zeros((n_out, n_in), np.int8)
    values = np.zeros((n_out, n_in), np.float32)
    for r in range(n_out):
        for start in range(0, n_in, group):
            block = weight if per_tensor else weight[r, start : start + group]
            scale = np.float32(np.abs(block).max()) / np.float32(q_max)
            if scale < TINY:
                continue
            for j in range(start, start + group):
                ratio = weight[r, j] / scale
                code = min(max(int(np.rint(ratio)), -q_max), q_max)  # rint: halves to even
                codes[r, j], values[r, j] = code, np.float32(code) * scale
    return codes, values


def random_weight(n_out, n_in, seed=0):
    return torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(seed))


@st.composite
def weights(draw):
    sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
    n_out, n_groups, group = draw(sizes)
    size = n_out * n_groups * group
    number = st.floats(-(2.0**100), 2.0**100, width=32) | st.sampled_from(
        [0.0, 1e-45, 1e-38, 0.5, 127.0]
    )
    flat = draw(st.lists(number, min_size=size, max_size=size))
    return np.array(flat, np.float32).reshape(n_out, n_groups * group), group


@settings(max_examples=60, deadline=None)
@given(weights(), st.sampled_from([8, 4]), st.sampled_from(["per_tensor", "per_channel", "group"]))
def test_against_brute_force(case, bits, kind):
    weight, group = case
    scheme = f"group{group}" if kind == "group" else kind
    quantized = quantize(torch.from_numpy(weight), scheme, bits)
    width = group if kind == "group" else weight.shape[1]
    q_max = 127 if bits == 8 else 7
    codes, values = brute_force(weight, width, kind == "per_tensor", q_max)
    assert np.array_equal(quantized.codes.numpy(), codes)
    assert np.array_equal(quantized.dequantize().numpy(), values)
    assert quantized.codes.abs().max() <= q_max


@settings(max_examples=40, deadline=None)
@given(weights(), st.sampled_from([8, 4]), st.randoms(use_true_random=False))
def test_the_error_is_at_most_half_a_step(case, bits, random):
    weight, group = case
    quantized = quantize(torch.from_numpy(weight), f"group{group}", bits)
    columns = list(range(weight.shape[1]))
    random.shuffle(columns)
    moved = quantized.permute_inputs(Permutation(columns))
    step = moved.scales.double()[:, moved.group_index].numpy()
    error = np.abs(weight[:, columns].astype(np.float64) - moved.dequantize().double().numpy())
    bound = np.maximum(0.5 * step * (1 + 1e-5), 128 * TINY)
    assert (error <= bound).all()


def test_halves_round_to_even():
    weight = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]])
    assert quantize(weight, "per_channel", 8).codes.tolist() == [[127, 0, 2, 2, 0, -2, -2]]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("scheme", ["per_tensor", "per_channel"])
def test_row_and_column_permutations_commute_bit_for_bit(scheme, bits):
    weight = random_weight(9, 15)
    rng = np.random.default_rng(1)
    rows, columns = Permutation.random(9, rng), Permutation.random(15, rng)
    moved = columns.apply(rows.apply(weight, 0), 1)
    before = quantize(moved, scheme, bits)
    after = quantize(weight, scheme, bits).permute_outputs(rows).permute_inputs(columns)
    assert torch.equal(before.dequantize(), after.dequantize())
    assert torch.equal(before.scales, after.scales)


@pytest.mark.parametrize("bits", [8, 4])
def test_groups_commute_with_rows_and_not_with_columns(bits):
    weight = random_weight(9, 16)
    rng = np.random.default_rng(1)
    rows, columns = Permutation.random(9, rng), Permutation.random(16, rng)
    quantized = quantize(weight, "group8", bits)
    by_rows = quantize(rows.apply(weight, 0), "group8", bits)
    assert torch.equal(by_rows.dequantize(), quantized.permute_outputs(rows).dequantize())
    by_columns = quantize(columns.apply(weight, 1), "group8", bits)
    assert not torch.equal(by_columns.dequantize(), quantized.permute_inputs(columns).dequantize())
    whole_groups = Permutation(np.r_[8:16, 0:8])
    by_groups = quantize(whole_groups.apply(weight, 1), "group8", bits)
    assert torch.equal(by_groups.dequantize(), quantized.permute_inputs(whole_groups).dequantize())


def test_a_permutation_moves_values_and_group_membership_and_changes_neither():
    weight = random_weight(5, 12)
    quantized = quantize(weight, "group4", 4)
    first = Permutation.random(12, np.random.default_rng(2))
    second = Permutation(np.arange(12)[::-1])
    moved = quantized.permute_inputs(first).permute_inputs(second)
    total = first.then(second)
    assert torch.equal(moved.dequantize(), total.apply(quantized.dequantize(), 1))
    assert moved.group_index.tolist() == (total.indices // 4).tolist()
    assert torch.equal(moved.codes, quantized.codes)
    restored = moved.permute_inputs(total.inverse())
    assert torch.equal(restored.column_order, quantized.column_order)


def test_zero_rows_and_groups_stay_zero():
    weight = random_weight(4, 8)
    weight[1], weight[2, 4:] = 0.0, 0.0
    for scheme in ("per_channel", "group4"):
        values = quantize(weight, scheme, 4).dequantize()
        assert torch.equal(values[weight == 0], weight[weight == 0])
        assert torch.isfinite(values).all() and values[0].abs().max() > 0
    assert quantize(torch.zeros(2, 4), "per_tensor", 8).dequantize().abs().max() == 0


def test_refusals_name_the_layer_and_the_fix():
    weight = random_weight(3, 48)
    with pytest.raises(UserError, match=r"x_proj.*in_features = 48.*group size 32.*divides 48"):
        quantize(weight, "group32", 8, name="x_proj")
    with pytest.raises(UserError, match="unknown quantisation scheme 'group0'"):
        quantize(weight, "group0", 8)
    with pytest.raises(UserError, match="unknown quantisation scheme 'rowwise'"):
        quantize(weight, "rowwise", 8)
    with pytest.raises(UserError, match="to 3 bits"):
        quantize(weight, "per_channel", 3)
    weight[0, 0] = float("inf")
    with pytest.raises(UserError, match="NaN or infinity"):
        quantize(weight, "per_channel", 8)
    with pytest.raises(UserError, match="4 elements cannot order 6 inputs"):
        quantize(random_weight(4, 6), "per_channel", 8).permute_inputs(Permutation.identity(4))
    with pytest.raises(UserError, match="6 elements cannot order 4 outputs"):
        quantize(random_weight(4, 6), "per_channel", 8).permute_outputs(Permutation.identity(6))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("scheme", ["per_tensor", "per_channel", "group5"])
def test_a_quantised_linear_is_a_linear_on_the_dequantised_weight(scheme, bits):
    weight, bias = random_weight(7, 15), random_weight(1, 7)[0]
    columns = Permutation.random(15, np.random.default_rng(0))
    quantized = quantize(weight, scheme, bits).permute_inputs(columns)
    layer = QuantizedLinear(quantized, bias)
    assert torch.equal(layer.dequantize(), quantized.dequantize())
    assert (layer.in_features, layer.out_features) == (15, 7)
    assert f"scheme={scheme}, bits={bits}, backend=numba" in repr(layer)
    for shape in ((15,), (1, 1, 15), (2, 5, 15)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        expected = nn.functional.linear(x, quantized.dequantize(), bias)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", ["per_tensor", "per_channel", "group4"])
def test_a_quantised_linear_permutes_as_its_weight(scheme):
    rng = np.random.default_rng(4)
    rows, columns = Permutation.random(6, rng), Permutation.random(12, rng)
    quantized = quantize(random_weight(6, 12), scheme, 4)
    bias = torch.arange(6.0)
    layer = QuantizedLinear(quantized, bias)
    codes_before = layer.codes.clone()
    layer.permute_axis("weight", 1, torch.from_numpy(columns.indices.copy()))
    assert torch.equal(layer.codes, codes_before)  # columns move by index alone
    layer.permute_axis("weight", 0, torch.from_numpy(rows.indices.copy()))
    layer.permute_axis("bias", 0, torch.from_numpy(rows.indices.copy()))
    moved = quantized.permute_inputs(columns).permute_outputs(rows)
    assert torch.equal(layer.dequantize(), moved.dequantize())
    assert torch.equal(layer.bias, rows.apply(bias))
    fresh = QuantizedLinear(moved, rows.apply(bias))
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(layer.state_dict()[name], tensor), name


def test_the_kernel_follows_every_way_of_replacing_a_buffer():
    first = QuantizedLinear(quantize(random_weight(6, 12), "group4", 8))
    other = QuantizedLinear(quantize(random_weight(6, 12, seed=1), "group4", 8))
    x = random_weight(1, 12, seed=2)
    before, expected = first(x), other(x)
    twin = copy.deepcopy(first)
    twin.codes.zero_()
    assert twin(x).abs().max() == 0 and torch.equal(first(x), before)
    for assign in (False, True):
        layer = copy.deepcopy(first)
        assert torch.equal(layer(x), before)
        layer.load_state_dict(other.state_dict(), assign=assign)
        assert torch.equal(layer(x), expected)
    first.backend = "torch"
    assert first.double()(x.double()).dtype == torch.float64


def test_quantize_model_replaces_only_what_it_is_told_and_leaves_the_original():
    config = odd_config(use_bias=True)
    model = OracleMamba(config)
    before = copy.deepcopy(model.state_dict())
    simulated = quantize_model(model, "group5", 8)
    real = quantize_model(model, "group5", 8, execution="numba")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    mixer, ours = simulated.backbone.layers[1].mixer, real.backbone.layers[1].mixer
    original = model.backbone.layers[1].mixer
    for name in ("in_proj", "x_proj", "out_proj"):
        expected = quantize(getattr(original, name).weight, "group5", 8).dequantize()
        assert torch.equal(getattr(mixer, name).weight, expected)
        assert torch.equal(getattr(ours, name).dequantize(), expected)
    assert torch.equal(mixer.dt_proj.weight, original.dt_proj.weight)
    assert isinstance(ours.dt_proj, nn.Linear) and isinstance(real.lm_head, nn.Linear)
    with torch.inference_mode():
        inputs = fixed_inputs(config)
        torch.testing.assert_close(
            real(inputs).logits, simulated(inputs).logits, rtol=1e-4, atol=1e-4
        )


def test_quantize_model_refuses_unknown_layers_and_names_bad_groups():
    model = OracleMamba(odd_config())
    with pytest.raises(UserError, match="no linear layer is named up_proj"):
        quantize_model(model, "per_channel", 8, layers=("in_proj", "up_proj"))
    with pytest.raises(UserError, match=r"backbone\.layers\.0\.mixer\.in_proj.*in_features = 25"):
        quantize_model(model, "group32", 8)
    with pytest.raises(UserError, match="unknown backend 'cuda'"):
        quantize_model(model, "per_channel", 8, execution="cuda")
