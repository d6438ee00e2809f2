"""Compiled models compute what the model does, and what cannot be had says why."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.models import compiled as compiled_module
from seqlab.models import compilers
from seqlab.models.compilers import COMPILERS, Unavailable, check_compiled, compile_model
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.masks import Pattern, magnitude_mask
from seqlab.models.sparse_linear import apply_masks, use_kernel

EXPORTED = ("onnxruntime", "openvino", "tvm")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bert() -> tuple[nn.Module, dict[str, Tensor]]:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
    )
    ids = torch.randint(50, (2, 12))
    mask = torch.ones_like(ids)
    mask[0, 9:] = 0
    return BertForSequenceClassification(config).eval(), {"input_ids": ids, "attention_mask": mask}


def mamba(kernel: str | None = None) -> tuple[MambaForCausalLM, Tensor]:
    config = MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1)
    model = init_weights(MambaForCausalLM(config), seed=0).eval()
    if kernel is not None:
        names = ["backbone.layers.0.mixer.in_proj", "backbone.layers.0.mixer.out_proj"]
        half = Pattern("unstructured", sparsity=0.5)
        weights = {name: model.get_submodule(name).weight for name in names}
        apply_masks(model, {name: magnitude_mask(weights[name], half) for name in names})
        use_kernel(model, names, kernel)
    return model, torch.randint(50, (2, 11), generator=torch.Generator().manual_seed(1))


def logits_of(model: nn.Module, inputs: Tensor | dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        output = model(inputs) if isinstance(inputs, Tensor) else model(**inputs)
    return output.logits


def compiled_or_skip(model: nn.Module, inputs, compiler: str, folder: Path) -> compilers.Compiled:
    """Skip for what is missing on the machine, but not for a model that a compiler refuses."""
    try:
        return compile_model(model, inputs, compiler, 1, cache=folder, trials=0)
    except Unavailable as error:
        assert error.compiler == compiler and error.fix is not None, error.reason
        pytest.skip(error.reason)


@pytest.mark.parametrize("compiler", ["eager", *EXPORTED])
@pytest.mark.parametrize("case", [bert, mamba])
def test_every_compiler_agrees_with_the_model(case, compiler: str, tmp_path: Path) -> None:
    model, inputs = case()
    expected = logits_of(model, inputs)
    compiled = compiled_or_skip(model, inputs, compiler, tmp_path)
    assert check_compiled(compiled, expected) <= 1e-4
    assert compiled.compiler == compiler and compiled.seconds > 0
    assert compiled.version[0].isdigit()
    assert compiled.plain == (compiler in EXPORTED)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["dense", "bsr16"])
def test_inductor_compiles_around_our_kernels(kernel: str, tmp_path: Path) -> None:
    model, inputs = mamba(kernel)
    expected = logits_of(model, inputs)
    compiled = compiled_or_skip(model, inputs, "inductor", tmp_path)
    assert check_compiled(compiled, expected) <= 1e-4
    assert compiled.details["graphs"] > 1 and compiled.details["graph_breaks"] > 0
    assert any(tmp_path.rglob("*.so"))


@pytest.mark.slow
def test_inductor_makes_one_graph_of_a_plain_model_and_keeps_models_apart(tmp_path: Path) -> None:
    first = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))
    models = [first, copy.deepcopy(first)]
    nn.init.ones_(models[1][2].weight)
    inputs = torch.randn(4, 8)
    compiled = [
        compiled_or_skip(WithLogits(model), inputs, "inductor", tmp_path) for model in models
    ]
    for model, result in zip(models, compiled, strict=True):
        assert check_compiled(result, logits_of(WithLogits(model), inputs)) <= 1e-4
        assert (result.details["graphs"], result.details["graph_breaks"]) == (1, 0)


@dataclasses.dataclass
class Output:
    logits: Tensor


class WithLogits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Output:
        return Output(self.model(x))


def test_what_computes_something_else_is_refused(tmp_path: Path) -> None:
    model, inputs = mamba()
    expected = logits_of(model, inputs)
    compiled = compile_model(model, inputs, "eager", 1, cache=tmp_path)
    assert check_compiled(compiled, expected) == 0
    assert check_compiled(compiled, expected * (1 + 1e-5)) == pytest.approx(1e-5, rel=0.2)
    for wrong in (expected * 1.001, expected * float("nan")):
        with pytest.raises(UserError, match="logits differ"):
            check_compiled(compiled, wrong)
    with pytest.raises(UserError, match="shape"):
        check_compiled(compiled, expected[:1])


def test_the_model_is_left_as_it_is(tmp_path: Path) -> None:
    model, inputs = mamba("csr")
    model.train()
    compile_model(model, inputs, "eager", 1, cache=tmp_path)
    assert model.training
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, inputs = mamba()
    monkeypatch.setattr(compiled_module.util, "find_spec", lambda name: None)
    for compiler, packages in {
        "onnxruntime": "onnx, onnxscript, onnxruntime",
        "openvino": "onnx, onnxscript, openvino",
        "tvm": "tvm",
    }.items():
        with pytest.raises(Unavailable) as caught:
            compile_model(model, inputs, compiler, 1, cache=tmp_path)
        assert caught.value.reason == f"not installed: {packages}"
        assert "peers" in str(caught.value)


def test_broken_packages_are_told_from_missing_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*given: object) -> None:
        raise ImportError("libsomething.so is missing\nand more")

    model, inputs = mamba()
    monkeypatch.setattr(compiled_module.util, "find_spec", lambda name: True)
    monkeypatch.setattr(compilers.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(compilers.compile_exported, "openvino_call", broken)
    with pytest.raises(Unavailable) as caught:
        compile_model(model, inputs, "openvino", 1, cache=tmp_path)
    assert caught.value.reason == "cannot be imported: libsomething.so is missing"


def test_inductor_without_a_cpp_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, inputs = mamba()
    monkeypatch.setenv("CXX", "/no/such/compiler -O2")
    with pytest.raises(Unavailable) as caught:
        compile_model(model, inputs, "inductor", 1, cache=tmp_path)
    assert caught.value.reason == "no C++ compiler /no/such/compiler"


def test_inductor_below_a_path_with_a_space(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, inputs = mamba()
    find = compiled_module.util.find_spec

    def spaced(name: str) -> object:
        found = find(name)
        return SimpleNamespace(origin="/a folder/torch/__init__.py") if name == "torch" else found

    monkeypatch.setattr(compiled_module.util, "find_spec", spaced)
    monkeypatch.setattr(compiled_module.shutil, "which", lambda command: command)
    with pytest.raises(Unavailable, match="the space in the path of torch"):
        compile_model(model, inputs, "inductor", 1, cache=tmp_path)


def test_a_refused_model_gives_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*given: object) -> None:
        raise RuntimeError("operator aten::odd is not known\ntrace")

    model, inputs = mamba()
    monkeypatch.setattr(compiled_module.util, "find_spec", lambda name: True)
    monkeypatch.setattr(compilers.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(compilers.compile_exported, "tvm_call", refuse)
    with pytest.raises(Unavailable) as caught:
        compile_model(model, inputs, "tvm", 1, cache=tmp_path)
    assert caught.value.reason == (
        "refuses the model: RuntimeError: operator aten::odd is not known"
    )
    with pytest.raises(Unavailable, match="input state is no tensor but of the type object"):
        given = {"input_ids": inputs, "state": object()}
        compile_model(model, given, "tvm", 1, cache=tmp_path)


def test_wrong_calls(tmp_path: Path) -> None:
    model, inputs = mamba()
    with pytest.raises(UserError, match="one of eager, inductor"):
        compile_model(model, inputs, "gcc", 1, cache=tmp_path)
    with pytest.raises(UserError, match="unknown mode"):
        compile_model(model, inputs, "eager", 1, cache=tmp_path, mode="fastest")
    with pytest.raises(UserError, match="torch uses 1 threads, not 2"):
        compile_model(model, inputs, "eager", 2, cache=tmp_path)
    assert set(COMPILERS) == {"eager", "inductor", *EXPORTED}


@pytest.mark.parametrize("compiler", ["onnxruntime", "openvino"])
def test_an_exported_file_is_used_again_with_other_weights(compiler: str, tmp_path: Path) -> None:
    model, inputs = mamba()
    first = compiled_or_skip(model, inputs, compiler, tmp_path / "first")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    second = compile_model(other, inputs, compiler, 1, cache=tmp_path / "second", like=first)
    assert check_compiled(second, logits_of(other, inputs)) <= 1e-4
    assert second.exported == tmp_path / "second" / "model.onnx"
    assert second.seconds < first.seconds
    with pytest.raises(UserError, match="logits differ"):
        check_compiled(second, logits_of(model, inputs))
    deeper = init_weights(MambaForCausalLM(MambaConfig(50, hidden_size=32, num_hidden_layers=2)), 0)
    with pytest.raises(Unavailable, match="not in the file"):
        compile_model(deeper, inputs, compiler, 1, cache=tmp_path / "third", like=first)
