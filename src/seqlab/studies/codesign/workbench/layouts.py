"""Layouts on the workbench: affinities of a function, the layout solved for them, what it is worth.

The affinity of a function is a matter of that function alone: of how its pruned weights share rows
and columns (G8) where there are zeros, of how its activations correlate (G1) where there are none.
A layout is therefore independent of the history that led to a function.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqlab.layout.affinity import StreamingCorrelation, affinity, structural_coaccess
from seqlab.layout.node_orders import node_order
from seqlab.layout.objective import partition_similarity, q_frac, q_frac_excess, q_newman
from seqlab.layout.permutation import Permutation
from seqlab.layout.solvers import solve
from seqlab.models.masks import density
from seqlab.models.permuting import Layout, Site, TensorAxis
from seqlab.models.sparse_linear import weight_matrix
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.workbench.spec import SolverSpec
from seqlab.studies.codesign.workbench.subject import Subject, features_last

Affinities = dict[str, npt.NDArray[np.float64]]
# A layer with a larger share of weights that are not zero counts as dense.
_DENSE = 0.99


@dataclass(frozen=True)
class Order:
    """Where everything stands: features of a model, and nodes of a graph where there are any.

    Attributes:
        features: Layout of the model.
        nodes: Order of the nodes, `nodes.indices[new] = old`; None without a graph.
        runtime_s: Seconds of the processor that its solvers took; no part of what the order is.
    """

    features: Layout
    nodes: Permutation | None
    runtime_s: float = 0.0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Order):
            return NotImplemented
        return self.features == other.features and self.nodes == other.nodes

    __hash__ = None  # type: ignore[assignment]


def original_order(subject: Subject) -> Order:
    """Return the order in which the model and its graph come."""
    nodes = None if subject.graph is None else Permutation.identity(subject.graph.shape[0])
    return Order(Layout(subject.sites), nodes)


def random_order(subject: Subject, rng: np.random.Generator) -> Order:
    """Return everything that can be laid out in random order."""
    features = {
        name: Permutation.random(site.size, rng) for name, site in sorted(subject.solved.items())
    }
    nodes = None
    if subject.graph is not None:
        nodes = Permutation.random(subject.graph.shape[0], rng)
    return Order(Layout(subject.sites, features), nodes)


def has_zeros(subject: Subject, model: nn.Module) -> bool:
    """Return whether a layer of a model is pruned; a stray zero of half precision is no pruning."""
    return any(
        density(weight_matrix(model.get_submodule(name))) < _DENSE for name in subject.layers
    )


def measure_affinities(subject: Subject, model: nn.Module, solver: SolverSpec) -> Affinities:
    """Return site -> (D, D) affinity of the function of a model in original order."""
    if has_zeros(subject, model):
        return structural_affinities(subject, model)
    return activation_affinities(subject, model, solver)


def structural_affinities(subject: Subject, model: nn.Module) -> Affinities:
    """Return how the features of each site are read and written together (G8).

    Every pruned weight that carries the site counts once, by columns where it reads the features
    and by rows where it makes them; each is normalised by itself, and they are averaged.
    """
    found: Affinities = {}
    for name, site in subject.solved.items():
        found[name] = _mean(
            structural_coaccess(segment, "columns" if axis.axis == 1 else "rows")
            for axis in site.axes
            if axis.tensor.removesuffix(".weight") in subject.layers
            and axis.tensor.endswith(".weight")
            for segment in _segments(model, site, axis)
        )
    return found


def _mean(parts: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return the mean of matrices, without all of them in memory at once."""
    pieces = iter(parts)
    total, count = next(pieces).copy(), 1
    for part in pieces:
        total += part
        count += 1
    total /= count
    return total


def _segments(model: nn.Module, site: Site, axis: TensorAxis) -> list[Tensor]:
    weight = weight_matrix(model.get_submodule(axis.tensor.removesuffix(".weight")))
    return [weight.narrow(axis.axis, start, site.size) for start in axis.segments]


def activation_affinities(subject: Subject, model: nn.Module, solver: SolverSpec) -> Affinities:
    """Return how the features of each site vary together (G1), at the pruned layers that read them.

    Where several layers read a site, their affinities are averaged: their activations differ in
    scale.
    """
    places: dict[str, list[StreamingCorrelation]] = {}
    handles = []
    try:
        for name, layer in reading_layers(subject):
            seen = StreamingCorrelation(subject.solved[name].size)
            places.setdefault(name, []).append(seen)
            module = model.get_submodule(layer)
            handles.append(module.register_forward_pre_hook(_observer(seen)))
        with torch.inference_mode():
            subject.calibrate(model)
    finally:
        for handle in handles:
            handle.remove()
    # A layer whose weight is used without calling it, as the first one of a GraphSAGE convolution,
    # has seen nothing; another layer reads the same features.
    return {
        name: _mean(affinity(s.correlation(), mode=solver.affinity) for s in streams if s.count)
        for name, streams in places.items()
    }


def reading_layers(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield (site, pruned layer that reads its features)."""
    for name, site in subject.solved.items():
        for axis in site.axes:
            layer = axis.tensor.removesuffix(".weight")
            if axis.axis == 1 and layer in subject.layers:
                yield name, layer


def _observer(seen: StreamingCorrelation) -> Any:
    def observe(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.update(features_last(arguments[0], module).float().cpu().numpy())

    return observe


def solve_order(
    subject: Subject,
    affinities: Mapping[str, Any],
    solver: SolverSpec,
    seed: int,
    *,
    method: str | None = None,
    block: int | None = None,
    clusters: int | None = None,
    sites: Collection[str] | None = None,
    nodes: str | None = None,
) -> Order:
    """Return the order solved for affinities, and for the graph where there is one.

    Args:
        subject: The architecture.
        affinities: Site -> affinity (D, D).
        solver: Settings of the workbench; what follows replaces one of them.
        seed: Of the solvers; each site has one of its own.
        method: Solver of features.
        block: Features per block.
        clusters: Groups of a method that forms them; a site of fewer features gets one each.
        sites: Sites laid out, the others stay in original order; None for all.
        nodes: Order of the nodes.

    Raises:
        UserError: There is no such method, it needs a package that is not there, or it has no
            number of groups.
    """
    found = {
        name: solve(
            matrix,
            method or solver.method,
            block or subject.spec.block,
            int(stream(seed, f"solve/{name}").integers(2**31)),
            clusters=None if clusters is None else min(clusters, len(matrix)),
        )
        for name, matrix in sorted(affinities.items())
        if sites is None or name in sites
    }
    runtime = sum(solution.runtime_s for solution in found.values())
    order = None
    if subject.neighbours is not None:
        key = (nodes or solver.node_order, seed)
        if key not in subject.node_orders:
            started = time.process_time()
            made = node_order(subject.neighbours, key[0], seed, block=subject.spec.block)
            subject.node_orders[key] = made, time.process_time() - started
        order, seconds = subject.node_orders[key]
        runtime += seconds
    features = {name: solution.permutation for name, solution in found.items()}
    return Order(Layout(subject.sites, features), order, runtime)


def worth(subject: Subject, affinities: Affinities, order: Order) -> dict[str, float]:
    """Return Q_frac, its excess over a random layout and Q_newman, means over what is laid out.

    Where there is a graph its node order is what addresses depend on, and it alone counts.
    """
    block = subject.spec.block
    parts: list[tuple[Any, Permutation]]
    if subject.neighbours is not None and order.nodes is not None:
        parts = [(subject.neighbours, order.nodes)]
    else:
        parts = [(matrix, order.features[name]) for name, matrix in affinities.items()]
    return {
        "q_frac": float(np.mean([q_frac(w, pi, block) for w, pi in parts])),
        "q_excess": float(np.mean([q_frac_excess(w, pi, block) for w, pi in parts])),
        "q_newman": float(np.mean([q_newman(w, pi, block) for w, pi in parts])),
    }


def similarity(subject: Subject, a: Order, b: Order) -> float:
    """Return the adjusted Rand index of the blocks of two orders, mean over what is laid out."""
    block = subject.spec.block
    if a.nodes is not None and b.nodes is not None:
        return partition_similarity(a.nodes, b.nodes, block)
    return float(
        np.mean(
            [
                partition_similarity(a.features[name], b.features[name], block)
                for name in subject.solved
            ]
        )
    )


def relative_change(after: Affinities, before: Affinities) -> float:
    """Return ||after - before||_F / ||before||_F, all sites together."""
    change = sum(float(np.sum((after[name] - before[name]) ** 2)) for name in before)
    size = sum(float(np.sum(matrix**2)) for matrix in before.values())
    return float(np.sqrt(change / size))
