"""One run on the workbench: arms of one architecture built, checked, described, simulated, timed.

What is known of a function (its affinities, the order solved for them, its quality) is found once
for all arms that compute it, and dropped with the run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.layout.permutation import Permutation
from seqlab.measure.latency import Latency, Warmup, measure_interleaved
from seqlab.measure.load import ForeignLoad, measure_quietly
from seqlab.models.equivalence import Reference, require_equivalence
from seqlab.models.masks import density
from seqlab.models.permuting import Layout
from seqlab.models.sparse_linear import use_kernel, weight_matrix
from seqlab.provenance.record import Check, Metric
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.memory import evicting
from seqlab.studies.codesign.workbench import names
from seqlab.studies.codesign.workbench.arms import Arm, build_arms, pruning
from seqlab.studies.codesign.workbench.layouts import (
    Affinities,
    Order,
    measure_affinities,
    original_order,
    random_order,
    relative_change,
    similarity,
    solve_order,
    worth,
)
from seqlab.studies.codesign.workbench.metrics import (
    Metrics,
    counted,
    latency_metric,
    simulated,
    traffic_metric,
)
from seqlab.studies.codesign.workbench.names import DENSE_KERNEL
from seqlab.studies.codesign.workbench.spec import BenchTimingSpec, WorkbenchSpec
from seqlab.studies.codesign.workbench.subject import Product, Score, Subject
from seqlab.threads import fewer_threads

# Relative difference of fp32 logits between a sparse product and the dense one.
PRODUCT_TOLERANCE = 1e-3
Calls = dict[str, Callable[[], object]]


@dataclass
class Bench:
    """What the arms of one run share.

    Attributes:
        subject: The architecture.
        spec: Settings of the workbench.
        seed: Seed of the run.
    """

    subject: Subject
    spec: WorkbenchSpec
    seed: int
    _affinities: dict[str, Affinities] = field(default_factory=dict, init=False, repr=False)
    _orders: dict[str, Order] = field(default_factory=dict, init=False, repr=False)
    _scores: dict[str, Score | None] = field(default_factory=dict, init=False, repr=False)

    def build(self, wanted: Sequence[str], pattern: str | None = None) -> dict[str, Arm]:
        """Return the named arms, pruned after `pattern` or that of the architecture."""
        return build_arms(
            self.subject,
            wanted,
            pruning(self.subject, pattern or self.subject.spec.pattern),
            self.order,
            random_order(self.subject, stream(self.seed, "random_order")),
        )

    def affinities(self, arm: Arm) -> Affinities:
        """Return the affinities of an arm's function."""
        if arm.function not in self._affinities:
            self._affinities[arm.function] = measure_affinities(
                self.subject, arm.original(), self.spec.solver
            )
        return self._affinities[arm.function]

    def order(self, arm: Arm) -> Order:
        """Return the order solved for an arm's function."""
        if arm.function not in self._orders:
            self._orders[arm.function] = solve_order(
                self.subject, self.affinities(arm), self.spec.solver, self.seed
            )
        return self._orders[arm.function]

    def score(self, arm: Arm) -> Score | None:
        """Return the quality of an arm's function; None where the architecture has none."""
        if arm.function not in self._scores:
            model = arm.original()
            with torch.inference_mode():
                self._scores[arm.function] = self.subject.score(model)
        return self._scores[arm.function]

    def gate(self, arms: Mapping[str, Arm]) -> dict[str, dict[str, Check]]:
        """Return arm -> the equivalence gate of its order; arms in original order have none.

        Raises:
            UserError: An order changes the function; the arm must not be timed.
        """
        inputs = self.subject.gate_inputs()
        references: dict[str, Reference] = {}
        checks: dict[str, dict[str, Check]] = {}
        for name, arm in arms.items():
            checks[name] = {}
            if arm.order.features == Layout(self.subject.sites):
                continue
            if arm.function not in references:
                references[arm.function] = Reference(arm.original(), inputs)
            found = require_equivalence(
                references[arm.function],
                arm.model,
                tolerance=self.spec.gate,
                where=f"arm {name}",
            )
            checks[name]["layout_equivalence"] = Check(
                passed=found.passed,
                value=found.max_abs,
                tolerance=found.tolerance,
                detail=found.detail,
            )
        return checks

    def describe(self, arms: Mapping[str, Arm]) -> dict[str, Metrics]:
        """Return arm -> sparsity, quality, and what its order is worth for its own function."""
        dense = Arm(self.subject.model, original_order(self.subject))
        changes: dict[str, float] = {}
        result: dict[str, Metrics] = {}
        for name, arm in arms.items():
            affinities = self.affinities(arm)
            values = worth(self.subject, affinities, arm.order)
            values["similarity_to_dense"] = similarity(self.subject, arm.order, self.order(dense))
            if names.LINEAR_TP in arms:
                values["similarity_to_TP"] = similarity(
                    self.subject, arm.order, arms[names.LINEAR_TP].order
                )
            if arm.function not in changes:
                changes[arm.function] = relative_change(affinities, self.affinities(dense))
            values["affinity_change"] = changes[arm.function]
            result[name] = {
                metric: Metric(value=value, unit="1", provenance="counted")
                for metric, value in values.items()
            }
            result[name]["sparsity"] = Metric(
                value=sparsity(self.subject, arm.model), unit="1", provenance="counted"
            )
            score = self.score(arm)
            if score is not None:
                result[name][score.metric] = Metric(
                    value=score.value, unit=score.unit, provenance="measured"
                )
        return result

    def simulate(self, products: Sequence[Product]) -> Metrics:
        """Return hit rates and traffic of products in the simulated caches, empty before each."""
        return counted(simulated(products, self.spec.caches))

    def time(
        self,
        calls: Calls,
        repeats: int,
        purpose: str,
        *,
        before_each: Callable[[], object] | None = None,
    ) -> tuple[Latency, list[ForeignLoad]]:
        """Time calls against each other on a quiet machine; see `time_quietly`."""
        return time_quietly(
            self.spec.timing,
            self.seed,
            calls,
            repeats,
            purpose,
            before_each=before_each,
            device=self.subject.device,
        )


def time_quietly(
    timing: BenchTimingSpec,
    seed: int,
    calls: Calls,
    repeats: int,
    purpose: str,
    *,
    before_each: Callable[[], object] | None = None,
    device: str = "cpu",
) -> tuple[Latency, list[ForeignLoad]]:
    """Time calls against each other on a quiet machine.

    Args:
        timing: Warm-up, threads and the load that is tolerated.
        seed: Seed of the run.
        calls: Arm -> call.
        repeats: Timed calls per arm.
        purpose: Names the random stream of the order of arms.
        before_each: Untimed call before every sample.
        device: Where the calls run.

    Raises:
        UserError: Other processes used more than the limit in every attempt.
    """
    rng = stream(seed, f"arm_order/{purpose}")
    # The order of warming up is drawn as well as that of timing.
    shuffled = {name: calls[name] for name in rng.permutation(list(calls)).tolist()}

    def measure() -> Latency:
        return measure_interleaved(
            shuffled,
            repeats=repeats,
            rng=rng,
            device=device,
            warmup=Warmup(window=3, max_calls=timing.warmup_max),
            threads=timing.threads,
            before_each=before_each,
        )

    with torch.inference_mode(), fewer_threads(timing.threads):
        return measure_quietly(
            measure,
            limit=timing.max_foreign_load,
            attempts=timing.attempts,
            key="codesign.workbench.timing.max_foreign_load",
        )


@dataclass(frozen=True)
class Prepared:
    """An arm under one kernel, ready to be timed.

    Attributes:
        arm: The arm, its pruned layers computed by the kernel.
        call: The timed call.
    """

    arm: Arm
    call: Callable[[], Tensor]


def prepare(bench: Bench, arms: Mapping[str, Arm], kernel: str) -> dict[str, Prepared]:
    """Return copies of arms whose pruned layers are computed by a kernel, made in random order.

    In one order for all runs identical arms differ in each of them: where a tensor lies in memory
    is an effect of its own, and has to be drawn like any other.
    """
    rng = stream(bench.seed, f"allocation/{kernel}")
    result: dict[str, Prepared] = {}
    for name in rng.permutation(list(arms)).tolist():
        model = copy.deepcopy(arms[name].model)
        use_kernel(model, bench.subject.layers, kernel)
        order = arms[name].order
        result[name] = Prepared(Arm(model, order), bench.subject.caller(model, order.nodes))
    return {name: result[name] for name in arms}


def check_kernel(
    bench: Bench, arms: Mapping[str, Arm], prepared: Mapping[str, Prepared]
) -> dict[str, Check]:
    """Return arm -> whether its kernels, in its order, compute what plain products do in the
    original one.

    Raises:
        UserError: One does not; it must not be timed.
    """
    subject, checks = bench.subject, {}
    nodes = None if subject.graph is None else Permutation.identity(subject.nodes)
    plain: dict[str, Callable[[], Tensor]] = {}
    for arm in arms.values():
        if arm.function not in plain:
            plain[arm.function] = subject.caller(arm.original(), nodes)
    with torch.inference_mode():
        expected = {function: call().double() for function, call in plain.items()}
        for name, arm in arms.items():
            found = prepared[name].call().double()
            if arm.order.nodes is not None:
                found = arm.order.nodes.inverse().apply(found)
            wanted = expected[arm.function]
            error = float((found - wanted).abs().max() / wanted.abs().max())
            if not error <= PRODUCT_TOLERANCE:
                raise UserError(
                    f"its logits differ by {error:.3g} of their size from plain products",
                    where=f"arm {name}",
                )
            checks[name] = Check(passed=True, value=error, tolerance=PRODUCT_TOLERANCE, detail="")
    return checks


def sparsity(subject: Subject, model: nn.Module) -> float:
    """Return the share of zeros in the pruned layers."""
    weights: list[Tensor] = [weight_matrix(model.get_submodule(n)) for n in subject.layers]
    kept = sum(density(weight) * weight.numel() for weight in weights)
    return 1.0 - kept / sum(weight.numel() for weight in weights)


@dataclass
class Found:
    """What a run found, by the name of an arm in its record.

    Attributes:
        metrics: Arm -> metrics.
        checks: Arm -> checks.
        samples: Name -> raw samples.
        loads: Measurement -> load of each of its attempts.
    """

    metrics: dict[str, Metrics] = field(default_factory=dict)
    checks: dict[str, dict[str, Check]] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict)
    loads: dict[str, list[ForeignLoad]] = field(default_factory=dict)

    def add(self, arm: str, metrics: Metrics, checks: Mapping[str, Check] | None = None) -> None:
        """Add metrics and checks of one arm."""
        self.metrics.setdefault(arm, {}).update(metrics)
        self.checks.setdefault(arm, {}).update(checks or {})

    def add_latency(self, name: str, latency: Latency, loads: list[ForeignLoad]) -> None:
        """Keep the raw samples of one measurement."""
        self.loads[name] = loads
        for arm, values in latency.samples_ns.items():
            self.samples[f"{name}/{arm}/ns"] = values


def measure_arms(
    bench: Bench,
    arms: Mapping[str, Arm],
    found: Found,
    *,
    kernel: str,
    level: str = "all",
    repeats: int | None = None,
    caches: bool = True,
) -> None:
    """Check, simulate and time arms under one kernel; the results go to `kernel/level/arm`.

    The products of traced layers are timed from cold caches, as they are simulated; whole models
    as they run.

    Args:
        bench: The run.
        arms: What is compared.
        found: Takes what is found.
        kernel: Product of the pruned layers.
        level: Further part of the names, such as a batch size.
        repeats: Timed calls per arm; those of the architecture unless told.
        caches: Whether products are simulated.
    """
    place = f"{kernel}/{level}"
    prepared = prepare(bench, arms, kernel)
    checks = check_kernel(bench, arms, prepared)
    products = {
        name: bench.subject.products(p.arm.model, kernel, p.arm.order.nodes)
        for name, p in prepared.items()
    }
    count = repeats or bench.subject.spec.repeats
    whole, whole_loads = bench.time({n: p.call for n, p in prepared.items()}, count, place)
    site, site_loads = bench.time(
        {n: in_sequence(p) for n, p in products.items()},
        count,
        f"{place}/site",
        before_each=evicting(bench.spec.caches, bench.subject.device),
    )
    found.add_latency(f"{place}/latency", whole, whole_loads)
    found.add_latency(f"{place}/site_latency", site, site_loads)
    # The addresses of a dense product are a function of its sizes alone.
    shared: Metrics | None = None
    for name in arms:
        metrics = {
            "latency_ms": latency_metric(whole, name),
            "site_latency_ms": latency_metric(site, name),
        }
        if caches:
            if shared is None or kernel != DENSE_KERNEL or bench.subject.graph is not None:
                shared = bench.simulate(products[name])
            metrics |= shared
            metrics["dram_gb_per_s"] = traffic_metric(
                shared["dram_bytes"], metrics["site_latency_ms"]
            )
        tiles = sum(product.tiles for product in products[name])
        if tiles:
            metrics["tiles"] = Metric(value=tiles, unit="tiles", provenance="counted")
        found.add(f"{place}/{name}", metrics, {"product": checks[name]})


def in_sequence(products: Sequence[Product]) -> Callable[[], object]:
    """Return a call that computes products one after the other."""

    def call() -> None:
        for product in products:
            product.call()

    return call
