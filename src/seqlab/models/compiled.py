"""What compiling a model gives: a call on fixed inputs, or the reason why there is none.

Light to import: the doctor asks here what a compiler lacks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from seqlab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

COMPILERS = ("eager", "inductor", "onnxruntime", "openvino", "tvm")
# Compiler -> the package whose version it has.
PACKAGES = {
    "eager": "torch",
    "inductor": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tvm": "apache-tvm",
}
INSTALL = "pip install -c constraints.txt -e '.[peers]'"
# Compiler -> the modules it takes to compile.
_MODULES = {
    "eager": ("torch",),
    "inductor": ("torch",),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "tvm": ("tvm",),
}


class Unavailable(UserError):
    """A compiler cannot be had here, or does not take this model: a row that is not run.

    Attributes:
        compiler: Name of the compiler.
        reason: One line for the table.
    """

    def __init__(self, compiler: str, reason: str, *, fix: str | None = None) -> None:
        super().__init__(reason, where=f"compiler {compiler}", fix=fix)
        self.compiler = compiler
        self.reason = reason


@dataclass(frozen=True)
class Compiled:
    """A model compiled for fixed inputs.

    Attributes:
        compiler: Name of the compiler.
        version: Version of the package that compiled.
        call: Runs the model on its inputs and returns the logits; the next call may write them to
            the same memory.
        seconds: Time from the model to the end of the first call, in seconds. The first compilation
            by inductor in a process also finds out what the CPU can do.
        threads: Number of compute threads of a call.
        plain: Whether the plain form of the model was compiled (see `seqlab.models.plain`).
        details: What else is worth a record, such as the number of graphs.
        exported: The file in the ONNX format, of compilers that read one.
    """

    compiler: str
    version: str
    call: Callable[[], Tensor]
    seconds: float
    threads: int
    plain: bool
    details: dict[str, str | int | float] = field(default_factory=dict)
    exported: Path | None = None


def require_compiler(compiler: str) -> None:
    """Check that what a compiler needs is installed; nothing of it is imported.

    Raises:
        UserError: No such compiler.
        Unavailable: A module or the C++ compiler is missing, or cannot be reached; names it.
    """
    if compiler not in COMPILERS:
        raise UserError(f"unknown compiler {compiler!r}", fix=f"one of {', '.join(COMPILERS)}")
    missing = [name for name in _MODULES[compiler] if util.find_spec(name) is None]
    if missing:
        raise Unavailable(compiler, f"not installed: {', '.join(missing)}", fix=INSTALL)
    if compiler == "inductor":
        # Inductor asks the same variable; its value may have options behind the name.
        command = (os.environ.get("CXX") or "g++").split()[0]
        if shutil.which(command) is None:
            raise Unavailable(compiler, f"no C++ compiler {command}", fix="install g++")
        torch = util.find_spec("torch")
        if torch is not None and " " in (torch.origin or ""):
            raise Unavailable(
                compiler,
                "its C++ command cannot hold the space in the path of torch",
                fix="move the checkout to a path without spaces and run `make setup` there",
            )
