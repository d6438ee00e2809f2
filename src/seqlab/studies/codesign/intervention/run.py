"""One run of the interventions: a random and a solved order of the nodes of one graph.

Natural: calls follow each other, the caches hold what the last ones left. Thrash: before every call
a buffer of twice the last cache is written, so that every line has to come from memory once. Warm:
the operand has few columns, so that it fits the second cache with the result. What a call loads
again within itself no eviction between calls can take away; that is what the simulated clamp is
for, which scales the second cache until its hit rate is the one that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from seqlab.errors import UserError
from seqlab.kernels.cachesim import Counts
from seqlab.kernels.traces import Piece
from seqlab.layout.node_orders import node_order
from seqlab.layout.permutation import Permutation
from seqlab.provenance.record import Metric
from seqlab.quiet import map_in_threads
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.drawn_graph import DrawnGraph, GraphProduct, draw_graph
from seqlab.studies.codesign.intervention.spec import (
    CONDITIONS,
    HIGH,
    KERNEL,
    LOW,
    LOW_AGAIN,
    THRASH,
    WARM,
    InterventionRunSpec,
    clamp_level,
)
from seqlab.studies.codesign.memory import evicting, hierarchy_of
from seqlab.studies.codesign.workbench.bench import Found, time_quietly
from seqlab.studies.codesign.workbench.metrics import Metrics, counted, latency_metric

# A hit rate this near the one asked for is that one.
_NEAR = 0.005
_ITEM = 4
Products = dict[str, GraphProduct]


@dataclass(frozen=True)
class Clamped:
    """A second cache scaled to a hit rate.

    Attributes:
        capacity: Bytes.
        hit_rate: The hit rate found.
        near: Whether it is the one asked for.
    """

    capacity: int
    hit_rate: float
    near: bool


def intervene(spec: InterventionRunSpec) -> Found:
    """Check, simulate and time both layouts in every condition.

    Raises:
        UserError: An order changes the sums, the warm operand does not fit, or the machine is
            loaded.
    """
    _require_fit(spec)
    graph = draw_graph(spec.graph, spec.seed)
    orders = _orders(spec, graph)
    found = Found()
    wide, narrow = (
        _products(spec, graph, orders, width) for width in (spec.graph.width, spec.warm_width)
    )
    for condition in CONDITIONS:
        products = narrow if condition == WARM else wide
        evict = evicting(spec.bench.caches) if condition == THRASH else None
        _measure(spec, products, condition, evict, found)
    worth = {
        arm: {
            name: Metric(value=value, unit="1", provenance="counted")
            for name, value in graph.worth(orders[arm]).items()
        }
        for arm in (LOW, HIGH)
    }
    traces = [list(wide[arm].product.trace()) for arm in worth]
    hits = map_in_threads(partial(clamp_all, spec), traces, spec.threads)
    clamped = dict(zip(worth, hits, strict=True))
    for arm, metrics in worth.items():
        for condition in CONDITIONS:
            found.add(f"{KERNEL}/{condition}/{arm}", metrics)
        for target, metric in clamped[arm].items():
            found.add(f"{KERNEL}/{clamp_level(target)}/{arm}", metric)
    return found


def _require_fit(spec: InterventionRunSpec) -> None:
    needed = 2 * spec.graph.nodes * spec.warm_width * _ITEM
    if needed > spec.bench.caches[1].size:
        raise UserError(
            f"operand and result of {spec.warm_width} columns take {needed} bytes, more than the "
            f"second cache of {spec.bench.caches[1].size}",
            where="codesign.intervention.warm_width",
            fix="fewer columns or fewer nodes",
        )


def _orders(spec: InterventionRunSpec, graph: DrawnGraph) -> dict[str, Permutation]:
    size = spec.graph
    rng = stream(spec.seed, "orders")
    solved = node_order(graph.pattern, spec.bench.solver.node_order, spec.seed, block=size.block)
    random = Permutation.random(size.nodes, rng)
    return {LOW: random, LOW_AGAIN: random, HIGH: solved}


def _products(
    spec: InterventionRunSpec,
    graph: DrawnGraph,
    orders: Mapping[str, Permutation],
    width: int,
) -> Products:
    """Return the product of each arm, allocated in random order."""
    rng = stream(spec.seed, f"allocation/{width}")
    made = {arm: graph.product(orders[arm], arm, width) for arm in rng.permutation(list(orders))}
    return {arm: made[arm] for arm in orders}


def _measure(
    spec: InterventionRunSpec,
    products: Products,
    condition: str,
    evict: Callable[[], object] | None,
    found: Found,
) -> None:
    place = f"{KERNEL}/{condition}"
    latency, loads = time_quietly(
        spec.bench.timing,
        spec.seed,
        {arm: one.product.call for arm, one in products.items()},
        spec.repeats,
        place,
        before_each=evict,
    )
    found.add_latency(f"{place}/site_latency", latency, loads)
    for arm, one in products.items():
        metrics: Metrics = {"site_latency_ms": latency_metric(latency, arm)}
        if arm != LOW_AGAIN:
            pieces = list(one.product.trace())
            metrics |= hit_rates(
                simulated_call(pieces, spec.bench.caches, warm=condition != THRASH)
            )
        found.add(f"{place}/{arm}", metrics, {"product": one.check})


def simulated_call(pieces: list[Piece], caches: tuple[CacheSpec, ...], *, warm: bool) -> Counts:
    """Return the counts of one call, in empty caches or in those that the same call left."""
    hierarchy = hierarchy_of(caches)
    for _ in range(1 + warm):
        hierarchy.reset()
        for piece in pieces:
            hierarchy.access(*piece)
    return hierarchy.counts()


def hit_rates(counts: Counts) -> Metrics:
    """Return the hit rate of each level, and the share of loads and stores the first two serve."""
    kept = ("_hit_rate", "_share")
    return {name: metric for name, metric in counted([counts]).items() if name.endswith(kept)}


def clamp_all(spec: InterventionRunSpec, pieces: list[Piece]) -> dict[float, Metrics]:
    """Return target -> capacity of the second cache and the hit rate that it has there."""
    first, second = spec.bench.caches[:2]
    tried: dict[int, float] = {}
    step = second.ways * second.line

    def hit_rate(sets: int) -> float:
        if sets not in tried:
            scaled = second.model_copy(update={"size": sets * step})
            tried[sets] = (
                simulated_call(pieces, (first, scaled), warm=True).levels[1].hit_rate or 0.0
            )
        return tried[sets]

    found = {}
    for target in spec.targets:
        clamped = clamp(hit_rate, target, max(1, first.size // step), spec.capacity_max // step)
        nearest = f"no capacity gives it: {clamped.hit_rate:.3f} is nearest"
        found[target] = {
            "L2_capacity_bytes": Metric(
                value=clamped.capacity * step if clamped.near else None,
                unit="bytes",
                provenance="simulated",
                reason=None if clamped.near else nearest,
            ),
            "L2_hit_rate": Metric(value=clamped.hit_rate, unit="1", provenance="simulated"),
        }
    return found


def clamp(hit_rate: Callable[[int], float], target: float, lowest: int, highest: int) -> Clamped:
    """Bisect the number of sets, on a logarithmic scale, for a hit rate.

    Args:
        hit_rate: Sets -> hit rate; rises with the number of sets but for collisions.
        target: The hit rate asked for.
        lowest: Fewest sets.
        highest: Most sets.

    Returns:
        The capacity in sets.
    """
    ends = {sets: hit_rate(sets) for sets in (lowest, highest)}
    best = min(ends, key=lambda sets: abs(ends[sets] - target))
    if not ends[lowest] <= target <= ends[highest]:
        return Clamped(best, ends[best], abs(ends[best] - target) <= _NEAR)
    low, high, at = lowest, highest, ends[best]
    while abs(at - target) > _NEAR and high - low > 1:
        middle = min(max(round(math.sqrt(low * high)), low + 1), high - 1)
        found = hit_rate(middle)
        if abs(found - target) < abs(at - target):
            best, at = middle, found
        low, high = (middle, high) if found < target else (low, middle)
    return Clamped(best, at, abs(at - target) <= _NEAR)
