"""Compile a model for fixed inputs on the CPU by several compilers, under one interface.

- `eager`: PyTorch as it is, with our kernels where the model has them;
- `inductor`: torch.compile, with breaks around our kernels;
- `onnxruntime`, `openvino`, `tvm`: the plain form of the model (`seqlab.models.plain`), because
  these take graphs of standard operators only.

What cannot be had is told by `Unavailable`, so that a study can print the row as not run.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.models import compile_exported, compile_inductor
from seqlab.models.compiled import (
    COMPILERS,
    INSTALL,
    PACKAGES,
    Compiled,
    Unavailable,
    require_compiler,
)
from seqlab.models.equivalence import Inputs
from seqlab.models.plain import plain_copy
from seqlab.models.signal_stack import signal_stack_kept

__all__ = ["COMPILERS", "Compiled", "Unavailable", "check_compiled", "compile_model"]

# Compilers that read a file in the ONNX format.
ONNX_READERS = ("onnxruntime", "openvino")
# Largest relative difference of fp32 logits: compilers sum in another order.
TOLERANCE = 1e-4
_REASON_LENGTH = 200


def compile_model(
    model: nn.Module,
    inputs: Inputs,
    compiler: str,
    threads: int,
    *,
    cache: Path,
    mode: str = "default",
    trials: int = 0,
    like: Compiled | None = None,
) -> Compiled:
    """Compile a model for the inputs given; the model itself is left as it is.

    Args:
        model: Its output has a field `logits`. It is run in evaluation mode.
        inputs: One tensor, or keyword arguments, on the CPU. Compilers other than eager and
            inductor take tensors and constants (numbers, booleans, strings, None) only.
        compiler: One of `COMPILERS`.
        threads: Number of compute threads; torch must use this many already.
        cache: Folder for what the compiler writes. Nothing in it is read again.
        mode: "default" or "max-autotune"; of inductor only.
        trials: Number of schedules to measure, 0 for the defaults of each operator; of tvm only.
        like: A compiled model with other weights and the same inputs. Compilers that read the ONNX
            format then take its file with these weights, and the time of the export is not in
            `seconds`; others compile anew.

    Raises:
        Unavailable: The compiler is not installed or not importable, lacks a C++ compiler, or
            refuses the model.
        UserError: No such compiler or mode, or torch uses another number of threads.
    """
    require_compiler(compiler)
    _check(compiler, threads, mode)
    plain = compiler not in ("eager", "inductor")
    start = time.perf_counter()
    try:
        version = metadata.version(PACKAGES[compiler])
        prepared = plain_copy(model) if plain else copy.deepcopy(model).eval()
        program, tensors = _bound(prepared, inputs, compiler, plain)
        written = None if like is None else like.exported
        exported = None
        if compiler in ONNX_READERS:
            exported = compile_exported.onnx_file(program, tensors, cache, written)
        with signal_stack_kept():
            call, details = _compile(
                compiler, program, tensors, cache, threads, mode, trials, exported
            )
            call()
    except UserError:
        raise
    except (ImportError, metadata.PackageNotFoundError) as error:
        reason = f"cannot be imported: {_first_line(error)}"
        raise Unavailable(compiler, reason, fix=INSTALL) from error
    except Exception as error:
        # Compilers raise whatever they like, from RuntimeError to classes of their own.
        reason = f"refuses the model: {type(error).__name__}: {_first_line(error)}"
        raise Unavailable(compiler, reason) from error
    seconds = time.perf_counter() - start
    return Compiled(compiler, version, call, seconds, threads, plain, details, exported)


def check_compiled(
    compiled: Compiled, reference_logits: Tensor, tolerance: float = TOLERANCE
) -> float:
    """Return how far the compiled model's logits are from the reference's.

    Args:
        compiled: The compiled model.
        reference_logits: Logits of the model itself on the same inputs.
        tolerance: Largest accepted value of max|y - r| / max|r|.

    Returns:
        max|y - r| / max|r|.

    Raises:
        UserError: Another shape, or a larger difference: it computes something else.
    """
    logits = compiled.call()
    where = f"compiler {compiled.compiler}"
    if logits.shape != reference_logits.shape:
        raise UserError(
            f"logits of shape {tuple(logits.shape)}, not {tuple(reference_logits.shape)}",
            where=where,
        )
    reference = reference_logits.double()
    largest = reference.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    difference = ((logits.double() - reference).abs().max() / largest).item()
    if not difference <= tolerance:  # NaN fails as well
        raise UserError(
            f"logits differ by {difference:.3g} of their size, more than {tolerance:.3g}",
            where=where,
            fix="leave this compiler out of the comparison",
        )
    return difference


def _check(compiler: str, threads: int, mode: str) -> None:
    if mode not in compile_inductor.MODES:
        modes = ", ".join(compile_inductor.MODES)
        raise UserError(f"unknown mode {mode!r} of inductor", fix=f"one of {modes}")
    if torch.get_num_threads() != threads:
        raise UserError(
            f"torch uses {torch.get_num_threads()} threads, not {threads}",
            where=f"compiler {compiler}",
            fix="call seqlab.threads.pin_threads before",
        )


def _compile(
    compiler: str,
    program: nn.Module,
    tensors: tuple[Tensor, ...],
    cache: Path,
    threads: int,
    mode: str,
    trials: int,
    exported: Path | None,
) -> tuple[Callable[[], Tensor], dict[str, str | int | float]]:
    if exported is not None:
        read = {
            "onnxruntime": compile_exported.onnxruntime_call,
            "openvino": compile_exported.openvino_call,
        }
        return read[compiler](exported, tensors, threads)
    if compiler == "tvm":
        return compile_exported.tvm_call(program, tensors, cache, threads, trials)

    run = program
    details: dict[str, str | int | float] = {}
    if compiler == "inductor":
        with torch.inference_mode():
            run, details = compile_inductor.inductor_module(program, tensors, cache, threads, mode)

    def call() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = run(*tensors)
        return logits

    return call, details


class _Bound(nn.Module):
    """A model as a function of tensors: its other arguments are fixed, its output the logits."""

    def __init__(self, model: nn.Module, names: list[str], constants: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.constants = constants

    def forward(self, *tensors: Tensor) -> Tensor:
        if not self.names:
            logits: Tensor = self.model(*tensors).logits
        else:
            named = dict(zip(self.names, tensors, strict=True))
            logits = self.model(**named, **self.constants).logits
        return logits


def _bound(
    model: nn.Module, inputs: Inputs, compiler: str, plain: bool
) -> tuple[_Bound, tuple[Tensor, ...]]:
    given: Mapping[str, Any] = {} if isinstance(inputs, Tensor) else inputs
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    constants = {name: value for name, value in given.items() if name not in tensors}
    for name, value in constants.items():
        if plain and not (value is None or isinstance(value, bool | int | float | str)):
            kind = type(value).__name__
            raise Unavailable(compiler, f"input {name} is no tensor but of the type {kind}")
    values = (inputs,) if isinstance(inputs, Tensor) else tuple(tensors.values())
    return _Bound(model, list(tensors), constants), values


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:_REASON_LENGTH] if lines else "no message"
