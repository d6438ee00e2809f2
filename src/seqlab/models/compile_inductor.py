"""torch.compile with its own code generator, for a model on fixed inputs on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqlab.models.compiled import Unavailable

MODES = ("default", "max-autotune")
# Modules whose functions hand memory to numba or SciPy, where Dynamo cannot follow. It is told to
# leave them alone: each call is then a break between two graphs.
_OPAQUE = (
    "scipy.sparse",
    "seqlab.kernels.aggregate",
    "seqlab.kernels.arrays",
    "seqlab.kernels.conv",
    "seqlab.kernels.cross_entropy",
    "seqlab.kernels.jit",
    "seqlab.kernels.norm",
    "seqlab.kernels.panel_product",
    "seqlab.kernels.quantized",
    "seqlab.kernels.selective_scan",
    "seqlab.kernels.sparse",
    "seqlab.models.sparse_linear",
)


def inductor_module(
    program: nn.Module, inputs: Sequence[Tensor], folder: Path, threads: int, mode: str
) -> tuple[Any, dict[str, str | int | float]]:
    """Compile a module and all it calls; breaks between graphs are allowed and counted.

    Args:
        program: Maps the inputs to the logits.
        inputs: What it is called with, as it will be called: in inference mode or not.
        folder: Where the generated code goes, in a new folder of its own for every call, so that
            no code of another compilation is used.
        threads: Number of threads of the generated code.
        mode: One of `MODES`; "max-autotune" tries several kernels for each product.

    Returns:
        The compiled module, called already, and `mode`, `graphs` and `graph_breaks`.

    Raises:
        Unavailable: The model is compiled anew at every call.
    """
    from torch._dynamo.utils import counters
    from torch._inductor import config, list_mode_options
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.utils import fresh_cache

    _leave_kernels_alone()
    graphs = 0
    # Freezing folds the weights into the code, as compilers for inference do; without it no kernel
    # for a product is tried. One compiling thread: a pool of processes would outlive the call.
    settings = {
        **(list_mode_options("max-autotune-no-cudagraphs") if mode == "max-autotune" else {}),
        "freezing": True,
        "cpp.threads": threads,
        "compile_threads": 1,
    }

    # A backend of its own: Dynamo shares graphs of equal models only within a backend.
    def backend(graph: torch.fx.GraphModule, examples: list[Any]) -> Any:
        nonlocal graphs
        graphs += 1
        return compile_fx(graph, examples)

    before = sum(counters["graph_break"].values())
    compiled = torch.compile(program, backend=backend)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        warnings.catch_warnings(),
        fresh_cache(dir=str(folder), delete=False),
        config.patch(settings),
        torch._dynamo.config.patch(
            recompile_limit=1 << 10, accumulated_recompile_limit=1 << 12, trace_numpy=False
        ),
    ):
        warnings.simplefilter("ignore")
        # Sparse forms and numba's code are made by the first call; Dynamo is not to see that.
        program(*inputs)
        compiled(*inputs)
        first = graphs
        compiled(*inputs)
    if graphs != first:
        raise Unavailable("inductor", "compiles anew at every call of this model")
    breaks = sum(counters["graph_break"].values()) - before
    return compiled, {"mode": mode, "graphs": graphs, "graph_breaks": breaks}


@cache
def _leave_kernels_alone() -> None:
    from torch._dynamo import trace_rules

    for name in _OPAQUE:
        trace_rules.add(name)
