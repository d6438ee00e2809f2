"""Linear recurrences against flash-linear-attention: its plain operators, and how ours calls it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels import (
    chunked,
    linear_attention,
    matrix_state_numba,
    recurrences,
    recurrences_fla,
)
from seqlab.kernels.linear_attention import Backend, _form

BATCH, HEADS, LENGTH, WIDTH = 2, 2, 192, 32
EITHER = pytest.mark.parametrize("backend", ["chunked", "numba"])


def naive(path: str) -> ModuleType:
    """Return a module of plain operators, by file: importing the package wants triton."""
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        pytest.skip("fla-core is not installed")
    file = Path(package.submodule_search_locations[0]) / "ops" / path / "naive.py"
    spec = importlib.util.spec_from_file_location(f"fla_naive_{path.replace('/', '_')}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(BATCH, HEADS, LENGTH, *size, generator=generator)

    q, k, v = (normal(WIDTH) for _ in range(3))
    rate = normal(WIDTH).sigmoid()
    unit = functional.normalize(k, dim=-1)
    return {
        "q": q,
        "k": k,
        "v": v,
        "unit": unit,
        "opposite": -unit,
        "beta": normal().sigmoid(),
        "per_head": -functional.softplus(normal()),
        "per_key": functional.logsigmoid(normal(WIDTH)) / 16,
        "removed": unit * rate,
        "bounded": -0.6065 * normal(WIDTH).sigmoid(),
    }


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def swapped(*tensors: Tensor) -> list[Tensor]:
    """Return tensors with tokens before heads, or heads before tokens."""
    return [tensor.transpose(1, 2) for tensor in tensors]


@EITHER
def test_the_delta_rule_equals_fla(backend: Backend) -> None:
    x = inputs()
    theirs, state = naive("delta_rule").delta_rule_recurrence(x["q"], x["unit"], x["v"], x["beta"])
    ours, last = _form("delta", backend)(x["q"] * WIDTH**-0.5, x["unit"], x["v"], x["beta"])
    close(ours, theirs)
    close(last, state)


@EITHER
def test_the_gated_delta_rule_equals_fla(backend: Backend) -> None:
    x = inputs()
    given = swapped(x["q"], x["unit"], x["v"], x["beta"], x["per_head"])
    operator = naive("gated_delta_rule").naive_recurrent_gated_delta_rule
    theirs, state = operator(*given, output_final_state=True)
    ours, last = _form("gated_delta", backend)(
        x["q"] * WIDTH**-0.5, x["unit"], x["v"], x["beta"], x["per_head"]
    )
    close(ours, theirs.transpose(1, 2))
    close(last, state)


@EITHER
def test_gated_linear_attention_equals_fla(backend: Backend) -> None:
    x = inputs()
    given = swapped(x["q"], x["k"], x["v"], x["per_key"])
    theirs, state = naive("gla").naive_recurrent_gla(*given, output_final_state=True)
    ours, last = _form("gated", backend)(x["q"] * WIDTH**-0.5, x["k"], x["v"], x["per_key"])
    close(ours, theirs.transpose(1, 2))
    close(last, state)


@EITHER
def test_retention_equals_fla(backend: Backend) -> None:
    x = inputs()
    theirs = naive("retention").naive_retention(x["q"], x["k"], x["v"])
    decays = torch.log1p(-(2.0 ** (-5.0 - torch.arange(HEADS))))[None, :, None]
    g = decays.expand(BATCH, HEADS, LENGTH)
    ours, _ = _form("decayed", backend)(x["q"] * WIDTH**-0.5, x["k"], x["v"], g)
    close(ours, theirs)


@EITHER
def test_the_generalised_delta_rule_equals_fla(backend: Backend) -> None:
    x = inputs()
    given = (x["q"], x["k"], x["v"], -x["unit"], x["removed"], x["bounded"])
    operator = naive("generalized_delta_rule/dplr").dplr_recurrence
    theirs, state = operator(*given)
    # fla's plain operator scales its queries, RWKV-7 does not.
    ours, last = _form("generalized_delta", backend)(x["q"] * WIDTH**-0.5, *given[1:])
    close(ours, theirs)
    close(last, state)


class Operators:
    """Stands in for `fla.ops`: the recurrences, with tokens before heads and named arguments."""

    def __init__(self, name: str, form: Callable[..., Any], order: tuple[str, ...]) -> None:
        self.form, self.order = form, order
        self.dtypes: dict[str, torch.dtype] = {}
        setattr(self, name, self._call)

    def _call(
        self, *, scale: float, initial_state: Tensor | None, output_final_state: bool, **given: Any
    ) -> tuple[Tensor, Tensor]:
        assert scale == 1.0 and output_final_state
        assert all(tensor.is_contiguous() for tensor in given.values())
        self.dtypes = {name: tensor.dtype for name, tensor in given.items()}
        arguments = [given[name].transpose(1, 2).float() for name in self.order]
        output, state = self.form(*arguments, initial_state)
        return output.transpose(1, 2), state


CALLS = {
    "decayed": ("simple_gla", "chunk_simple_gla", ("q", "k", "v", "g")),
    "gated": ("gla", "chunk_gla", ("q", "k", "v", "g")),
    "delta": ("delta_rule", "chunk_delta_rule", ("q", "k", "v", "beta")),
    "gated_delta": ("gated_delta_rule", "chunk_gated_delta_rule", ("q", "k", "v", "beta", "g")),
    "generalized_delta": ("rwkv7", "chunk_rwkv7", ("r", "k", "v", "a", "b", "w")),
}
GIVEN = {
    "decayed": ("q", "k", "v", "per_head"),
    "gated": ("q", "k", "v", "per_key"),
    "delta": ("q", "unit", "v", "beta"),
    "gated_delta": ("q", "unit", "v", "beta", "per_head"),
    "generalized_delta": ("q", "k", "v", "opposite", "removed", "bounded"),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", CALLS)
def test_a_gpu_is_handed_to_fla(
    form: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, order = CALLS[form]
    recurrence = getattr(recurrences, f"{form}_recurrence")
    operators = Operators(name, recurrence, order)
    monkeypatch.setitem(sys.modules, f"fla.ops.{module}", operators)  # type: ignore[arg-type]
    monkeypatch.setattr(linear_attention, "resolve_backend", lambda *_: "fla")
    x = inputs()
    given = [x[key].to(dtype) for key in GIVEN[form]]
    state = torch.randn(BATCH, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
    ours, last = getattr(linear_attention, form)(*given, state)
    theirs, final = recurrence(*(tensor.float() for tensor in given), state)
    close(ours.float(), theirs, 1e-2)
    close(last, final)
    assert (ours.dtype, last.dtype) == (dtype, torch.float32)
    decays = {"g", "w"}
    for argument, handed in operators.dtypes.items():
        assert handed == (torch.float32 if argument in decays else dtype), argument


def test_only_a_gpu_with_fla_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    for importable in (True, False):
        monkeypatch.setattr(recurrences_fla, "fla_importable", lambda known=importable: known)
        wanted = "fla" if importable else "chunked"
        assert linear_attention.resolve_backend(gpu, torch.bfloat16) == wanted
        assert linear_attention.resolve_backend(gpu, torch.float16) == wanted
        # What trains in full precision is not rounded behind one's back.
        assert linear_attention.resolve_backend(gpu, torch.float32) == "chunked"
        assert linear_attention.resolve_backend(gpu, torch.float64) == "chunked"
        assert linear_attention.resolve_backend(cpu, torch.bfloat16) == "numba"
        assert linear_attention.resolve_backend(cpu, torch.float32) == "numba"
        assert linear_attention.resolve_backend(cpu, torch.float64) == "chunked"


@pytest.mark.parametrize("form", GIVEN)
def test_a_cpu_computes_single_precision_by_its_kernel(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = inputs()
    given = [x[key] for key in GIVEN[form]]
    called = []
    for name in ("advance", "retreat"):
        kernel = getattr(matrix_state_numba, name)

        def counted(*arguments: Any, name: str = name, kernel: Any = kernel) -> None:
            called.append(name)
            kernel(*arguments)

        monkeypatch.setattr(matrix_state_numba, name, counted)
    ours, _ = getattr(linear_attention, form)(*(x.clone().requires_grad_() for x in given))
    ours.sum().backward()
    assert called == ["advance", "retreat"]
    # A wide gate makes all of it wide.
    ours, last = getattr(linear_attention, form)(*given[:-1], given[-1].double())
    assert len(called) == 2
    theirs, final = getattr(chunked, f"chunked_{form}")(*(x.double() for x in given))
    close(ours.double(), theirs)
    close(last, final)


@pytest.mark.parametrize("form", GIVEN)
def test_one_token_is_a_step_and_no_chunk(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = inputs()
    given = [x[key][:, :, :1] for key in GIVEN[form]]
    state = torch.randn(BATCH, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
    theirs, final = getattr(chunked, f"chunked_{form}")(*given, state)

    def no_form(*_: object) -> None:
        raise AssertionError("one token was prepared as a sequence")

    monkeypatch.setattr(linear_attention, "_form", no_form)
    ours, last = getattr(linear_attention, form)(*given, state)
    close(ours, theirs)
    close(last, final)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, kept = getattr(linear_attention, form)(*(t.bfloat16() for t in given), state)
    assert (half.dtype, kept.dtype) == (torch.bfloat16, torch.float32)
