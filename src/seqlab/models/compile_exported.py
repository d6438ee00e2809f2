"""Compilers that take a graph of standard operators: ONNX Runtime, OpenVINO and TVM.

Each takes the plain form of the model as `torch.export` writes it down, the first two by way of a
file in the ONNX format.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Details = dict[str, str | int | float]
_PRECISION = "f32"
# A file in the ONNX format is one protocol buffer, which ends at 2 GiB.
_LARGEST_FILE = 1 << 30
_NOISY = ("torch.onnx", "onnxscript")


def onnxruntime_call(
    path: Path, inputs: Sequence[Tensor], threads: int
) -> tuple[Callable[[], Tensor], Details]:
    """Compile with ONNX Runtime's CPU provider, all of its graph optimisations on.

    Args:
        path: File in the ONNX format that maps the inputs to the logits.
        inputs: What it is called with.
        threads: Threads within an operator; operators run one after another.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Its threads would otherwise spin on for a while, into the call of another arm.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}

    def call() -> Tensor:
        return torch.from_numpy(session.run(None, feeds)[0])

    return call, {}


def openvino_call(
    path: Path, inputs: Sequence[Tensor], threads: int
) -> tuple[Callable[[], Tensor], Details]:
    """Compile with OpenVINO's CPU plugin for latency, in fp32; arguments as `onnxruntime_call`."""
    import openvino

    core = openvino.Core()
    # Some CPUs would otherwise compute in bfloat16.
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _PRECISION,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    feeds = {index: tensor.numpy() for index, tensor in enumerate(inputs)}

    def call() -> Tensor:
        outputs = request.infer(feeds, share_inputs=True, share_outputs=True)
        return torch.from_numpy(outputs[0])

    return call, {"precision": _PRECISION}


def tvm_call(
    program: nn.Module, inputs: Sequence[Tensor], folder: Path, threads: int, trials: int
) -> tuple[Callable[[], Tensor], Details]:
    """Compile with TVM: Relax, scheduled by MetaSchedule.

    Candidates are drawn by its search and measured here; the best one measured is used for each
    operator, TVM's own default for operators that no trial was left for.

    Args:
        program: Maps the inputs to the logits.
        inputs: What it is called with.
        folder: Where the records of the search go.
        threads: Threads within an operator.
        trials: Schedules to measure over all operators; 0 takes the defaults.
    """
    import tvm
    from tvm import relax
    from tvm.relax.frontend.torch import from_exported_program
    from tvm.s_tir import meta_schedule

    target = tvm.target.Target({"kind": "llvm", "num-cores": threads, "mcpu": _llvm_cpu()})
    with torch.no_grad(), _no_warnings():
        module = from_exported_program(_exported(program, inputs))
    with target:
        module = tvm.transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
                relax.transform.CanonicalizeBindings(),
                relax.get_pipeline("zero"),
            ]
        )(module)
        if trials:
            folder.mkdir(parents=True, exist_ok=True)
            # The default cost model needs a package more, and so few trials teach it nothing.
            database = meta_schedule.relax_integration.tune_relax(
                module,
                {},
                target,
                str(folder),
                trials,
                num_trials_per_iter=4,
                cost_model="random",
                task_scheduler="round-robin",
                # Its database of JSON files has ended the process on models with constants.
                database="memory",
                seed=1,
            )
            with database:
                module = relax.transform.MetaScheduleApplyDatabase(enable_warning=False)(module)
    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    feeds = [tvm.runtime.tensor(tensor.numpy()) for tensor in inputs]
    run = machine["main"]

    def call() -> Tensor:
        outputs = run(*feeds)
        first = outputs if hasattr(outputs, "numpy") else outputs[0]
        return torch.from_numpy(first.numpy())

    return call, {"trials": trials}


def _llvm_cpu() -> str:
    import tvm

    return str(tvm.get_global_func("target.llvm_get_system_cpu")())


def _exported(program: nn.Module, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    return torch.export.export(program, tuple(inputs))


def onnx_file(
    program: nn.Module, inputs: Sequence[Tensor], folder: Path, like: Path | None
) -> Path:
    """Write `model.onnx` into the folder and return its path.

    Args:
        program: Maps the inputs to the logits.
        inputs: What it is called with.
        folder: Where the file goes.
        like: A file of the same program with other weights, which is then used again; not where
            the weights are too large for one file.

    Raises:
        RuntimeError: Nothing was written, or `like` is of another program.
    """
    # Imported here so that their absence is told as such.
    import onnx
    import onnxscript  # noqa: F401

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    if like is not None and _weight_bytes(program) < _LARGEST_FILE:
        onnx.save(_with_weights(onnx.load(str(like)), program), str(path))
        return path
    with torch.no_grad(), _no_warnings():
        exported = _exported(program, inputs)
        # Who reads the file optimises it anyway; unoptimised, weights keep names and values.
        written = torch.onnx.export(
            exported, tuple(inputs), dynamo=True, verbose=False, optimize=False
        )
    if written is None:
        raise RuntimeError("torch wrote no ONNX program")
    written.save(str(path))
    return path


def _weight_bytes(program: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in program.parameters())


def _with_weights(file: Any, program: nn.Module) -> Any:
    """Put the weights of a program into an ONNX model of its structure."""
    from onnx import numpy_helper

    tensors = program.state_dict()
    missing = {parameter.data_ptr() for parameter in program.parameters()}
    for stored in file.graph.initializer:
        if stored.name not in tensors:
            continue
        value = tensors[stored.name].detach()
        if list(stored.dims) != list(value.shape):
            raise RuntimeError(f"{stored.name} has another shape")
        missing.discard(value.data_ptr())
        stored.CopyFrom(numpy_helper.from_array(value.numpy(), stored.name))
    if missing:
        raise RuntimeError(f"{len(missing)} weights are not in the file to be used again")
    return file


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep the exporters' remarks on their own code from the user."""
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in _NOISY}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
