"""One architecture on the workbench: a model, what is permuted and pruned, and how it is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.kernels import traces
from seqlab.kernels.sparse import BsrWeight, CsrWeight
from seqlab.layout.permutation import Permutation
from seqlab.models.equivalence import Inputs
from seqlab.models.permuting import Site
from seqlab.models.sparse_linear import SparseLinear, weight_matrix
from seqlab.studies.codesign.workbench.names import DENSE_KERNEL
from seqlab.studies.codesign.workbench.spec import ArchitectureSpec

# Traces want rows of the operand that straddle no cache line.
_COLUMNS = 16


@dataclass(frozen=True)
class Score:
    """Quality of one function.

    Attributes:
        metric: Such as `bits_per_byte` or `accuracy`.
        value: The value, NaN where the model is not trained.
        unit: Its unit.
    """

    metric: str
    value: float
    unit: str


@dataclass(frozen=True)
class Product:
    """One product that a kernel computes in one layout.

    Attributes:
        call: Computes it.
        trace: Addresses of one call.
        tiles: Non-empty tiles, where the kernel stores tiles.
    """

    call: Callable[[], object]
    trace: Callable[[], traces.Trace]
    tiles: int = 0


class Subject(ABC):
    """A model with everything that is measured on it.

    Attributes:
        name: Name of the architecture in the settings.
        spec: Its settings.
        model: The dense model in original order, in evaluation mode.
        sites: Its permutation sites.
        layers: Names of the layers that T prunes and sparse kernels compute.
        rehearsal: Whether its weights are those of a rehearsal.
        graph: The adjacency whose nodes are laid out too, in original order; None without nodes.
        node_orders: (method, seed) -> order of the nodes and the CPU seconds it took: it depends
            on no function, so that all arms of a run share it.
    """

    graph: scipy.sparse.csr_array | None = None

    def __init__(
        self,
        name: str,
        spec: ArchitectureSpec,
        model: nn.Module,
        sites: Mapping[str, Site],
        layers: tuple[str, ...],
        *,
        rehearsal: bool,
    ) -> None:
        self.name = name
        self.spec = spec
        self.model = model
        self.sites = dict(sites)
        self.layers = layers
        self.rehearsal = rehearsal
        self.node_orders: dict[tuple[str, int], tuple[Permutation, float]] = {}

    @property
    def solved(self) -> dict[str, Site]:
        """The sites that are laid out: those whose features a pruned layer reads."""
        read = {f"{name}.weight" for name in self.layers}
        return {
            name: site
            for name, site in self.sites.items()
            if any(axis.axis == 1 and axis.tensor in read for axis in site.axes)
        }

    @property
    def traced(self) -> tuple[str, ...]:
        """The pruned layers whose products are looked at by themselves, evenly spread."""
        count = min(self.spec.traced, len(self.layers))
        chosen = np.linspace(0, len(self.layers) - 1, count).round().astype(int)
        return tuple(self.layers[index] for index in sorted(set(chosen.tolist())))

    @property
    def device(self) -> str:
        """Where the model lives and calls are timed."""
        return str(next(self.model.parameters()).device)

    @cached_property
    def neighbours(self) -> scipy.sparse.csr_array | None:
        """Which nodes are neighbours: ones, symmetric, without loops; None without a graph."""
        if self.graph is None:
            return None
        pattern = scipy.sparse.coo_array(self.graph.maximum(self.graph.T))
        kept = pattern.row != pattern.col
        ones = np.ones(int(kept.sum()))
        return scipy.sparse.csr_array(
            (ones, (pattern.row[kept], pattern.col[kept])), shape=pattern.shape
        )

    @property
    def nodes(self) -> int:
        """Number of nodes of the graph, 0 without one."""
        return 0 if self.graph is None else int(self.graph.shape[0])

    @abstractmethod
    def calibrate(self, model: nn.Module) -> None:
        """Run the calibration inputs through a model in original order."""

    def calibration_losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield the loss of each calibration input, with its graph, for a model in original order.

        Raises:
            UserError: The architecture has no loss on its calibration inputs.
        """
        raise UserError(
            f"{self.name} has no loss on its calibration inputs",
            fix="measure affinities of gradients on a language model",
        )

    @abstractmethod
    def gate_inputs(self) -> Inputs:
        """Return at least 8 inputs for the equivalence gate, in original order of nodes."""

    @abstractmethod
    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        """Return the timed call of a model on fixed inputs, its nodes in the given order."""

    def compiled_inputs(self) -> Tensor | None:
        """Return the argument of a timed call, for compilers; None where it is no tensor alone."""
        return None

    @abstractmethod
    def score(self, model: nn.Module) -> Score | None:
        """Return the quality of a model in original order; None where it has none."""

    def products(self, model: nn.Module, kernel: str, nodes: Permutation | None) -> list[Product]:
        """Return the products of the traced layers on the inputs that the model gives them."""
        with _captured(model, self.traced) as inputs, torch.inference_mode():
            self.caller(model, nodes)()
        return [
            linear_product(weight_matrix(model.get_submodule(name)), inputs[name], kernel)
            for name in self.traced
        ]


def forward_pass(model: nn.Module, inputs: Tensor) -> Callable[[], Tensor]:
    """Return the call of a model on fixed inputs; it gives the logits."""

    def call() -> Tensor:
        logits: Tensor = model(inputs).logits
        return logits

    return call


def linear_product(weight: Tensor, x: Tensor, kernel: str) -> Product:
    """Return W (O, I) X (I, T) by a kernel of `seqlab.models.sparse_linear`."""
    rows, columns = weight.shape
    width = x.shape[1]
    if kernel == DENSE_KERNEL:
        out = torch.empty(rows, width, dtype=x.dtype, device=x.device)
        return Product(
            lambda: torch.mm(weight, x, out=out),
            lambda: traces.dense_gemm(rows, columns, width),
        )
    stored = SparseLinear(weight, None, kernel).stored
    # Addresses are those of the kernels on a CPU, wherever the product is timed.
    held = stored
    if not isinstance(held, CsrWeight | BsrWeight):
        held = SparseLinear(weight.float().cpu(), None, kernel).stored
    if isinstance(held, CsrWeight):
        return Product(
            lambda: stored @ x,
            lambda: traces.csr_spmm(held.indptr, held.indices, columns, width),
        )
    assert isinstance(held, BsrWeight)
    return Product(
        lambda: stored @ x,
        lambda: traces.bsr_spmm(held.indptr, held.indices, held.tile, columns, width),
        tiles=len(held.indices),
    )


@contextmanager
def _captured(model: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """Keep the inputs of layers as operands (I, T), T padded with zeros to whole cache lines."""
    inputs: dict[str, Tensor] = {}
    handles = []
    for name in names:
        layer = model.get_submodule(name)

        def keep(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            inputs[name] = _operand(args[0], module)

        handles.append(layer.register_forward_pre_hook(keep))
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def _operand(x: Tensor, layer: nn.Module) -> Tensor:
    flat = features_last(x, layer).t()
    padded = -(-flat.shape[1] // _COLUMNS) * _COLUMNS
    result = flat.new_zeros(flat.shape[0], padded)
    result[:, : flat.shape[1]] = flat
    return result


def features_last(x: Tensor, layer: nn.Module) -> Tensor:
    """Return the input of a linear layer or 1x1 convolution as (positions, features)."""
    if weight_is_pointwise(layer):
        stride = layer.stride
        x = x[:, :, :: stride[0], :: stride[1]].movedim(1, -1)  # type: ignore[index]
    return x.detach().reshape(-1, x.shape[-1])


def weight_is_pointwise(layer: nn.Module) -> bool:
    """Return whether a layer is a 1x1 convolution."""
    weight = layer.weight
    return isinstance(weight, Tensor) and weight.ndim == 4
