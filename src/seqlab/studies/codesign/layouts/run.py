"""One run over many layouts of one function: worth, simulated misses and latency of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seqlab.layout.interpolate import spread_layouts
from seqlab.layout.node_orders import node_order
from seqlab.layout.permutation import Permutation
from seqlab.layout.solvers import solve
from seqlab.models.permuting import Layout
from seqlab.provenance.record import Check, Metric
from seqlab.studies.codesign.canonical import in_layout, stream
from seqlab.studies.codesign.drawn_graph import draw_graph
from seqlab.studies.codesign.layouts.names import AGAIN, LAYOUT
from seqlab.studies.codesign.layouts.spec import LayoutsRunSpec
from seqlab.studies.codesign.memory import evicting
from seqlab.studies.codesign.workbench import names
from seqlab.studies.codesign.workbench.arms import Arm
from seqlab.studies.codesign.workbench.bench import (
    Bench,
    Found,
    check_kernel,
    in_sequence,
    prepare,
    time_quietly,
)
from seqlab.studies.codesign.workbench.layouts import Order, worth
from seqlab.studies.codesign.workbench.metrics import Metrics, counted, latency_metric, simulated
from seqlab.studies.codesign.workbench.subject import Product, Subject

# Seed of the layouts of a model: they are the same in every run.
_LAYOUT_SEED = 0
# Solvers whose layouts are looked at beside those between a random and the solved one.
OTHER_METHODS = ("fiedler", "louvain", "tsp_greedy", "hierarchical", "kmeans", "random_clusters")
OTHER_ORDERS = ("degree", "rcm", "multilevel")


@dataclass(frozen=True)
class Laid:
    """One layout.

    Attributes:
        kind: `spread` for one between a random and the solved one, else its method.
        products: What is timed and simulated in it.
        worth: q_frac, q_excess and q_newman.
        checks: Checks that it computes the same function.
    """

    kind: str
    products: list[Product]
    worth: dict[str, float]
    checks: dict[str, Check]


def model_layouts(bench: Bench, kernel: str, count: int) -> list[Laid]:
    """Return layouts of the pruned model: at least `count`, checked.

    Raises:
        UserError: A layout changes the function.
    """
    subject = bench.subject
    (pruned,) = bench.build([names.ALGO_ONLY]).values()
    affinities = bench.affinities(pruned)
    kinds, orders = [], []
    for kind, layout in _feature_layouts(subject, affinities, count):
        kinds.append(kind)
        orders.append(Order(layout, None))
    arms = {
        f"{index}": Arm(in_layout(pruned.model, order.features), order, pruned)
        for index, order in enumerate(orders)
    }
    gates = bench.gate(arms)
    prepared = prepare(bench, arms, kernel)
    checks = check_kernel(bench, arms, prepared)
    return [
        Laid(
            kind,
            subject.products(prepared[name].arm.model, kernel, None),
            worth(subject, affinities, arms[name].order),
            {**gates[name], "product": checks[name]},
        )
        for kind, name in zip(kinds, arms, strict=True)
    ]


def _feature_layouts(
    subject: Subject, affinities: dict[str, Any], count: int
) -> list[tuple[str, Layout]]:
    """Return layouts of all sites together: evenly spread in Q_frac, and those of other solvers."""
    block, rng = subject.spec.block, np.random.default_rng(_LAYOUT_SEED)
    spread: dict[str, list[Permutation]] = {}
    others: dict[str, dict[str, Permutation]] = {method: {} for method in OTHER_METHODS}
    for site, matrix in sorted(affinities.items()):
        solved = solve(matrix, "spectral_balanced", block, _LAYOUT_SEED).permutation
        start = Permutation.random(len(solved), rng)
        wanted = max(2, count - len(OTHER_METHODS))
        spread[site] = spread_layouts(matrix, start, solved, wanted, block, rng)
        for method, found in others.items():
            found[site] = solve(matrix, method, block, _LAYOUT_SEED).permutation
    between = [
        Layout(subject.sites, dict(zip(spread, chosen, strict=True)))
        for chosen in zip(*spread.values(), strict=True)
    ]
    return [
        *(("spread", layout) for layout in between),
        *((method, Layout(subject.sites, found)) for method, found in others.items()),
    ]


def graph_layouts(spec: LayoutsRunSpec) -> list[Laid]:
    """Return orders of the nodes of a graph drawn for this run, checked.

    Raises:
        UserError: A sum over neighbours differs from that in original order.
    """
    size = spec.graph
    graph = draw_graph(size, spec.seed)
    rng = stream(spec.seed, "orders")
    between = max(2, spec.layouts - len(OTHER_ORDERS))
    start = Permutation.random(size.nodes, rng)
    orders = [
        ("spread", order)
        for order in spread_layouts(graph.pattern, start, graph.truth, between, size.block, rng)
    ]
    orders += [
        (name, node_order(graph.pattern, name, spec.seed, block=size.block))
        for name in OTHER_ORDERS
    ]
    laid: dict[int, Laid] = {}
    # Allocated in random order: where an operand lies in memory is an effect of its own.
    for index in rng.permutation(len(orders)).tolist():
        kind, order = orders[index]
        found = graph.product(order, kind)
        laid[index] = Laid(kind, [found.product], graph.worth(order), {"product": found.check})
    return [laid[index] for index in range(len(orders))]


def measure_layouts(
    spec: LayoutsRunSpec, laid: list[Laid], kernel: str, device: str = "cpu"
) -> Found:
    """Simulate and time layouts from cold caches; results stand under `kernel/LNN-kind/layout`.

    The first one is timed twice, for the noise of identical arms.
    """
    calls = {_level(index): in_sequence(one.products) for index, one in enumerate(laid)}
    again = f"{_level(0)}_aa"
    latency, loads = time_quietly(
        spec.bench.timing,
        spec.seed,
        {**calls, again: in_sequence(laid[0].products)},
        spec.repeats,
        kernel,
        before_each=evicting(spec.bench.caches, device),
        device=device,
    )
    found = Found()
    found.add_latency(f"{kernel}/site_latency", latency, loads)
    shared: Metrics | None = None
    for index, one in enumerate(laid):
        metrics: Metrics = {
            name: Metric(value=value, unit="1", provenance="counted")
            for name, value in one.worth.items()
        }
        # The addresses of a dense product are a function of its sizes alone.
        if shared is None or kernel != names.DENSE_KERNEL:
            shared = counted(simulated(one.products, spec.bench.caches))
        metrics |= shared
        metrics["site_latency_ms"] = latency_metric(latency, _level(index))
        found.add(f"{kernel}/{_level(index)}-{one.kind}/{LAYOUT}", metrics, one.checks)
    metrics = {"site_latency_ms": latency_metric(latency, again)}
    found.add(f"{kernel}/{_level(0)}-{laid[0].kind}/{AGAIN}", metrics, laid[0].checks)
    return found


def _level(index: int) -> str:
    return f"L{index:02d}"
