"""Sparse layers compute what the masked dense ones do, in every layout."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mamba_oracle import fixed_inputs, odd_config
from permutation_cases import moving
from torch import nn

from seqlab.errors import UserError
from seqlab.kernels.sparse import BsrWeight, CsrWeight
from seqlab.kernels.sparse_cuda import BsrTensor
from seqlab.models import sparse_linear
from seqlab.models.equivalence import Reference, check_equivalence
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_init import init_weights
from seqlab.models.masks import Pattern, density, magnitude_mask
from seqlab.models.permuting import Layout, Site, TensorAxis, apply_layout, relayout
from seqlab.models.resnet_sites import resnet_sites
from seqlab.models.sites import mamba_sites
from seqlab.models.sparse_linear import (
    KERNELS,
    SparseLinear,
    SparsePointwise,
    apply_masks,
    resolve_backend,
    use_kernel,
)

pytestmark = pytest.mark.filterwarnings("ignore:Sparse (CSR|BSR):UserWarning")
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
    by_torch = SparseLinear(layer.weight, layer.bias, "bsr16_torch")
    assert isinstance(by_torch.stored, BsrTensor)
    assert torch.equal(by_torch.stored.matrix.to_dense(), layer.weight)


def test_a_changed_weight_is_stored_anew() -> None:
    layer = masked()
    sparse = SparseLinear(layer.weight, layer.bias, "csr")
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    before = sparse(x)
    with torch.no_grad():
        sparse.weight.mul_(2.0)
    torch.testing.assert_close(sparse(x) - layer.bias, 2 * (before - layer.bias))


def test_a_weight_of_another_type_is_stored_anew() -> None:
    layer = masked()
    sparse = SparseLinear(layer.weight, layer.bias, "bsr16_torch")
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    before = sparse(x)
    torch.testing.assert_close(sparse.double()(x.double()), layer.double()(x.double()))
    torch.testing.assert_close(sparse.float()(x), before)
    torch.testing.assert_close(copy.deepcopy(sparse)(x), before)


@pytest.mark.parametrize("kernel", ["csr", "bsr16", "bsr16_torch"])
def test_no_tokens_give_no_outputs(kernel: str) -> None:
    layer = masked()
    assert SparseLinear(layer.weight, layer.bias, kernel)(torch.zeros(2, 0, 64)).shape == (
        *(2, 0, 128),
    )


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
    assert check_equivalence(Reference(model, fixed_inputs(config)), permuted).passed
    with torch.no_grad():
        weight = permuted.backbone.layers[0].mixer.in_proj.weight
        weight.copy_(weight[moving(len(weight)).indices.copy()])
    assert not check_equivalence(Reference(model, fixed_inputs(config)), permuted).passed


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


@pytest.fixture
def clean_choice() -> Any:
    """Choices and messages are remembered for the process: forget them around a test."""

    def forget() -> None:
        resolve_backend.cache_clear()
        sparse_linear._reported.clear()

    forget()
    yield
    forget()


F16, F32, F64 = torch.float16, torch.float32, torch.float64


@pytest.mark.usefixtures("clean_choice")
@pytest.mark.parametrize(
    ("kernel", "device", "dtype", "backend", "said"),
    [
        ("dense", "cuda", F32, "dense", ""),
        ("csr", "cpu", F32, "numba", ""),
        ("bsr8", "cpu", F32, "numba", ""),
        ("bsr16_torch", "cpu", F32, "torch", ""),
        ("csr", "cpu", F64, "dense", ""),
        ("csr", "cpu", F16, "dense", "csr is multiplied by dense: it has no torch.float16 on cpu"),
        ("csr", "cuda", F32, "cusparse", ""),
        ("csr", "cuda:1", torch.bfloat16, "cusparse", ""),
        ("csr", "cuda", F64, "dense", ""),
        ("bsr8", "cuda", F16, "torch", "bsr8 is multiplied by torch: Triton takes tiles of"),
        ("bsr16", "cuda", F16, "triton", ""),
        ("bsr64", "cuda", F32, "triton", ""),
        ("bsr32_torch", "cuda", F32, "torch", ""),
        ("csr", "mps", F32, "dense", "csr is multiplied by dense: it has no torch.float32 on mps"),
    ],
)
def test_the_backend_is_that_of_the_device_and_a_substitute_is_named_once(
    kernel: str,
    device: str,
    dtype: torch.dtype,
    backend: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sparse_linear, "triton_importable", lambda: True)
    assert resolve_backend(kernel, device, dtype) == backend
    resolve_backend.cache_clear()
    assert resolve_backend(kernel, device, dtype) == backend
    assert len(caplog.records) == (1 if said else 0)
    assert said in caplog.text


@pytest.mark.usefixtures("clean_choice")
def test_without_triton_tiles_are_multiplied_by_torch_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sparse_linear, "triton_importable", lambda: False)
    assert resolve_backend("bsr16", "cuda", F16) == "torch"
    assert "bsr16 is multiplied by torch: Triton is not installed" in caplog.text
    assert resolve_backend("csr", "cuda", F16) == "cusparse"
    assert len(caplog.records) == 1


def test_a_layer_says_what_multiplies_it() -> None:
    layer = SparseLinear(masked().weight, None, "bsr16")
    assert layer.backend == "numba"
    assert layer.double().backend == "dense"
    assert SparseLinear(masked().weight, None, "bsr16_torch").backend == "torch"


def pointwise(stride: Any = 1, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, 1, stride=stride, bias=bias)
    mask = magnitude_mask(layer.weight.flatten(1), HALF)
    apply_masks(nn.ModuleDict({"x": layer}), {"x": mask})
    assert density(layer.weight) == 0.5
    assert torch.equal(layer.weight[..., 0, 0] != 0, mask)
    return layer


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("shape", [(64, 7, 9), (1, 64, 7, 9), (3, 64, 8, 5), (0, 64, 8, 5)])
def test_every_kernel_equals_the_convolution(
    kernel: str, stride: Any, shape: tuple[int, ...]
) -> None:
    model = nn.ModuleDict({"x": pointwise(stride, bias=len(shape) == 3 or shape[0] != 3)})
    dense = copy.deepcopy(model["x"])
    sparse = use_kernel(model, ["x"], kernel)["x"]
    assert isinstance(sparse, SparsePointwise)
    assert sparse is model["x"]
    assert sparse.weight.shape == (128, 64, 1, 1)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(sparse(x), dense(x), rtol=1e-5, atol=1e-5)
        last = x[None] if x.dim() == 3 else x
        last = last.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(sparse(last), dense(last), rtol=1e-5, atol=1e-5)
        wide = copy.deepcopy(sparse).double()
        torch.testing.assert_close(wide(x.double()), copy.deepcopy(dense).double()(x.double()))


def test_a_layout_moves_a_pointwise_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(pointwise(), nn.BatchNorm2d(128), nn.Conv2d(128, 16, 1)).eval()
    nn.init.normal_(model[1].weight)
    names = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    axes = (*(TensorAxis(name, 0) for name in names), TensorAxis("2.weight", 1))
    sites = {"mid": Site("mid", 128, "layer", axes)}
    x = torch.randn(2, 64, 5, 5, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(x)
    use_kernel(model, ["0", "2"], "csr")
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
    before, order = model[0].weight.clone(), moving(128)
    apply_layout(model, Layout(sites, {"mid": order}))
    assert torch.equal(model[0].weight, before[order.indices.copy()])
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


def test_a_sparse_resnet_follows_its_layout() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64], depths=[1, 2], num_labels=5
    )
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(config).eval()
    names = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
    ]
    assert any(model.get_submodule(name).stride == (2, 2) for name in names)
    weights = {name: model.get_submodule(name).weight.flatten(1) for name in names}
    apply_masks(model, {name: magnitude_mask(w, HALF) for name, w in weights.items()})
    sparse = copy.deepcopy(model)
    use_kernel(sparse, names, "csr")
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(x).logits
        torch.testing.assert_close(sparse(x).logits, expected, rtol=1e-4, atol=1e-5)
    sites = resnet_sites(config)
    apply_layout(sparse, Layout(sites, {name: moving(s.size) for name, s in sites.items()}))
    moved = sparse.get_submodule(names[-1]).weight
    assert not torch.equal(moved, model.get_submodule(names[-1]).weight)
    with torch.inference_mode():
        torch.testing.assert_close(sparse(x).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 1, padding=1),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Conv2d(8, 8, (1, 3)),
    ],
)
def test_other_convolutions_are_refused(layer: nn.Conv2d) -> None:
    model = nn.ModuleDict({"x": layer})
    with pytest.raises(UserError, match="not a convolution of 1 x 1"):
        use_kernel(model, ["x"], "csr")
    with pytest.raises(UserError, match="not a convolution of 1 x 1"):
        apply_masks(model, {"x": torch.ones(8, 8, dtype=torch.bool)})


def test_bad_input_is_named() -> None:
    model = nn.ModuleDict({"x": masked(), "y": nn.ReLU(), "z": nn.Conv2d(8, 8, 1)})
    with pytest.raises(UserError, match="unknown sparse kernel 'coo'"):
        resolve_backend("coo", "cpu", torch.float32)
    with pytest.raises(UserError, match=r"a mask of \(8, 8, 1, 1\) for a weight of \(8, 8\)"):
        apply_masks(model, {"z": torch.ones(8, 8, 1, 1, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"an input of torch\.float32 and a weight of"):
        SparseLinear(torch.ones(16, 16).half(), None, "csr")(torch.ones(2, 16))
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
    assert "stride=(2, 2), kernel=csr" in repr(
        SparsePointwise(torch.ones(16, 16, 1, 1), None, "csr", (2, 2))
    )
    assert "kernel=csr" in repr(SparseLinear(torch.ones(16, 16), None, "csr"))
