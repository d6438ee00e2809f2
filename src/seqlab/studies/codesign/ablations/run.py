"""Build, check, describe and time the variants of one cell."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from seqlab.layout.solvers import solve
from seqlab.provenance.record import Metric
from seqlab.studies.codesign.ablations.gradients import gradient_affinities
from seqlab.studies.codesign.ablations.planner import Planner
from seqlab.studies.codesign.ablations.spec import OBJECTIVES, RunAblationSpec, kind_of
from seqlab.studies.codesign.ablations.variants import (
    AA_SUFFIX,
    ADAPTIVE,
    FEW,
    GRADIENTS,
    Variant,
    objective_plans,
    variants_of,
    why_not_run,
)
from seqlab.studies.codesign.workbench.arms import Arm, relaid
from seqlab.studies.codesign.workbench.bench import Bench, Found, measure_arms, sparsity
from seqlab.studies.codesign.workbench.layouts import (
    measure_affinities,
    similarity,
    worth,
)
from seqlab.studies.codesign.workbench.metrics import Metrics
from seqlab.studies.codesign.workbench.names import ALGO_ONLY
from seqlab.studies.codesign.workbench.subject import Subject


@dataclass
class Built:
    """The arms of a cell, the reference first.

    Attributes:
        arms: Name -> arm.
        metrics: Name -> what is known from building it.
        missing: Name -> why it could not be built.
    """

    arms: dict[str, Arm] = field(default_factory=dict)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, arm: Arm, solver_s: float, **counted: float) -> None:
        """Add an arm, the seconds of its solvers and counts."""
        self.arms[name] = arm
        self.metrics[name] = {
            "solver_s": Metric(value=solver_s, unit="s", provenance="measured"),
            **{
                metric: Metric(
                    value=value, unit="features" if metric == "block" else "1", provenance="counted"
                )
                for metric, value in counted.items()
            },
        }


def measure_cell(spec: RunAblationSpec, bench: Bench, few: Subject | None) -> Found:
    """Return what a run found: every variant of its cell under every kernel.

    Args:
        spec: Settings of the run.
        bench: The run.
        few: The same architecture with few calibration inputs, where the cell has such a variant.

    Raises:
        UserError: A variant computes something else than its function, or the machine is loaded.
    """
    if kind_of(spec.cell) == OBJECTIVES:
        built = build_objectives(spec, bench)
    else:
        built = build_variants(spec, bench, few)
    reference = next(iter(built.arms))
    twin = f"{reference}{AA_SUFFIX}"
    original = built.arms[reference]
    built.arms[twin] = replace(original, model=copy.deepcopy(original.model))
    built.metrics[twin] = built.metrics[reference]
    gates = bench.gate(built.arms)
    described = describe(bench, built.arms, reference)
    found = Found()
    # Functions of other ablations differ, and so do their misses for that reason alone.
    caches = kind_of(spec.cell) == OBJECTIVES
    for kernel in bench.subject.spec.kernels:
        measure_arms(bench, built.arms, found, kernel=kernel, caches=caches)
        for name in built.arms:
            found.add(f"{kernel}/all/{name}", described[name] | built.metrics[name], gates[name])
        for name, reason in built.missing.items():
            absent = Metric(value=None, unit="ms", provenance="measured", reason=reason)
            found.add(f"{kernel}/all/{name}", {"latency_ms": absent})
    return found


def build_objectives(spec: RunAblationSpec, bench: Bench) -> Built:
    """Return one pruned function in the order that each objective prefers."""
    planner, built = Planner(bench), Built()
    base = bench.build([ALGO_ONLY])[ALGO_ONLY]
    for name, plan in objective_plans(spec).items():
        reason = why_not_run(name)
        if reason is not None:
            built.missing[name] = reason
            continue
        if plan.method is not None:
            warm_up(plan.method)
        order = planner.order(base, plan)
        built.add(name, relaid(base, order), order.runtime_s)
    return built


def build_variants(spec: RunAblationSpec, bench: Bench, few: Subject | None) -> Built:
    """Return the variants of an ablation of the iterative arm."""
    subject, built = bench.subject, Built()
    solver = bench.spec.solver
    planner = Planner(
        bench,
        {
            FEW: lambda arm: measure_affinities(few or subject, arm.original(), solver),
            GRADIENTS: lambda arm: gradient_affinities(subject, arm.original(), solver),
        },
    )
    warm_up(solver.method)
    for name, variant in variants_of(spec, subject).items():
        method = variant.plan.method
        reason = None if method is None else why_not_run(method)
        if reason is not None:
            built.missing[name] = reason
            continue
        if method is not None:
            warm_up(method)
        chosen, counts = variant, dict[str, float]()
        if name == ADAPTIVE:
            block = planner.best_block(spec.blocks)
            # The block of the architecture is no other plan: its layouts are those of `full`.
            if block != subject.spec.block:
                chosen = Variant(replace(variant.plan, block=block))
        if spec.blocks:
            counts["block"] = chosen.plan.block or subject.spec.block
        wanted = variant.plan.clusters
        if wanted is not None:
            formed = [min(wanted, site.size) for site in subject.solved.values()]
            counts |= {"clusters_least": min(formed), "clusters_most": max(formed)}
        arm, seconds = planner.build(chosen)
        built.add(name, arm, seconds, **counts)
    return built


def warm_up(method: str) -> None:
    """Solve something small, so that a solver's seconds do not hold those of its compiler."""
    values = np.random.default_rng(0).random((32, 32))
    small = values + values.T
    np.fill_diagonal(small, 0.0)
    solve(small, method, 8, 0)


def describe(bench: Bench, arms: Mapping[str, Arm], reference: str) -> dict[str, Metrics]:
    """Return arm -> worth of its order for its own function, likeness to the reference, quality."""
    subject, result = bench.subject, {}
    for name, arm in arms.items():
        values = worth(subject, bench.affinities(arm), arm.order)
        values["similarity_to_reference"] = similarity(subject, arm.order, arms[reference].order)
        values["sparsity"] = sparsity(subject, arm.model)
        metrics = {
            metric: Metric(value=value, unit="1", provenance="counted")
            for metric, value in values.items()
        }
        score = bench.score(arm)
        if score is not None:
            metrics[score.metric] = Metric(
                value=score.value, unit=score.unit, provenance="measured"
            )
        result[name] = metrics
    return result
