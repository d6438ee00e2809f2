"""Sparse layers compute what the masked dense ones do, in every layout."""

from __future__ import annotations

import copy

import pytest
import torch
from mamba_oracle import fixed_inputs, odd_config
from permutation_cases import moving
from torch import nn

from seqlab.errors import UserError
from seqlab.kernels.sparse import BsrWeight, CsrWeight
from seqlab.models.equivalence import check_equivalence
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_init import init_weights
from seqlab.models.masks import Pattern, density, magnitude_mask
from seqlab.models.permuting import Layout, relayout
from seqlab.models.sites import mamba_sites
from seqlab.models.sparse_linear import KERNELS, SparseLinear, apply_masks, use_kernel

HALF = Pattern("unstructured", sparsity=0.5)


def masked(rows: int = 128, columns: int = 64, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(columns, rows, bias=bias)
    apply_masks(nn.ModuleDict({"x": layer}), {"x": magnitude_mask(layer.weight, HALF)})
    return layer


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(64,), (3, 64), (2, 5, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_every_kernel_equals_the_dense_layer(
    kernel: str, shape: tuple[int, ...], bias: bool
) -> None:
    layer = masked(bias=bias)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    sparse = SparseLinear(layer.weight, layer.bias, kernel)
    with torch.inference_mode():
        torch.testing.assert_close(sparse(x), layer(x), rtol=1e-4, atol=1e-5)


def test_the_stored_form_is_that_of_the_kernel_and_made_once() -> None:
    layer = masked()
    csr = SparseLinear(layer.weight, layer.bias, "csr")
    assert isinstance(csr.stored, CsrWeight)
    assert csr.stored is csr.stored
    assert len(csr.stored.values) == round(density(layer.weight) * layer.weight.numel())
    bsr = SparseLinear(layer.weight, layer.bias, "bsr16")
    assert isinstance(bsr.stored, BsrWeight)
    assert bsr.stored.tile == 16


def test_a_changed_weight_is_stored_anew() -> None:
    layer = masked()
    sparse = SparseLinear(layer.weight, layer.bias, "csr")
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    before = sparse(x)
    with torch.no_grad():
        sparse.weight.mul_(2.0)
    torch.testing.assert_close(sparse(x) - layer.bias, 2 * (before - layer.bias))


def test_a_copy_does_not_keep_the_form_of_the_original() -> None:
    layer = masked()
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    sparse = SparseLinear(layer.weight, None, "csr")
    with torch.no_grad():
        sparse.weight.mul_(2.0)
    first = sparse(x)
    other = copy.deepcopy(sparse)
    # As many writes as the original has seen.
    with torch.no_grad():
        other.weight.mul_(3.0)
    torch.testing.assert_close(other(x), 3 * first)
    with torch.inference_mode():
        again = SparseLinear(layer.weight, None, "csr")
        torch.testing.assert_close(2 * again(x), first)


def test_a_sparse_model_passes_the_gate_and_a_wrong_one_does_not() -> None:
    config = odd_config()
    model = init_weights(MambaForCausalLM(config), seed=0).eval()
    use_kernel(model, ["backbone.layers.0.mixer.in_proj"], "csr")
    sites = mamba_sites(config)
    layout = Layout(sites, {name: moving(site.size) for name, site in sites.items()})
    permuted = copy.deepcopy(model)
    relayout(permuted, Layout(sites), layout)
    assert check_equivalence(model, permuted, fixed_inputs(config)).passed
    with torch.no_grad():
        weight = permuted.backbone.layers[0].mixer.in_proj.weight
        weight.copy_(weight[moving(len(weight)).indices.copy()])
    assert not check_equivalence(model, permuted, fixed_inputs(config)).passed


@pytest.mark.parametrize("kernel", ["csr", "dense"])
def test_a_sparse_mamba_follows_its_layout(kernel: str) -> None:
    config = odd_config()
    model = init_weights(MambaForCausalLM(config), seed=0).eval()
    names = [f"backbone.layers.{i}.mixer.{x}" for i in range(2) for x in ("in_proj", "out_proj")]
    weights = {name: model.get_submodule(name).weight for name in names}
    apply_masks(model, {name: magnitude_mask(w, HALF) for name, w in weights.items()})
    sparse = copy.deepcopy(model)
    use_kernel(sparse, names, kernel)
    ids = fixed_inputs(config)
    with torch.inference_mode():
        expected = model(ids).logits
        torch.testing.assert_close(sparse(ids).logits, expected, rtol=1e-3, atol=1e-4)
    sites = mamba_sites(config)
    layout = Layout(sites, {name: moving(site.size) for name, site in sites.items()})
    relayout(sparse, Layout(sites), layout)
    with torch.inference_mode():
        torch.testing.assert_close(sparse(ids).logits, expected, rtol=1e-3, atol=1e-4)


def test_bad_input_is_named() -> None:
    model = nn.ModuleDict({"x": masked(), "y": nn.ReLU()})
    with pytest.raises(UserError, match="unknown sparse kernel 'coo'"):
        use_kernel(model, ["x"], "coo")
    with pytest.raises(UserError, match="not a linear layer but ReLU"):
        use_kernel(model, ["y"], "csr")
    with pytest.raises(UserError, match="a mask of"):
        apply_masks(model, {"x": torch.ones(3, 3, dtype=torch.bool)})
    with pytest.raises(UserError, match="do not divide"):
        _ = SparseLinear(torch.ones(24, 20), None, "bsr16").stored
    with pytest.raises(UserError, match="no sparse form"):
        _ = SparseLinear(torch.ones(16, 16), None, "dense").stored
    assert "kernel=csr" in repr(SparseLinear(torch.ones(16, 16), None, "csr"))
