"""One run under compilers: every arm compiled, checked, and timed against all others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from seqlab.errors import UserError
from seqlab.models.compilers import TOLERANCE, Compiled, Unavailable, check_compiled, compile_model
from seqlab.provenance.record import Check, Metric
from seqlab.quiet import unbroken
from seqlab.studies.codesign.backends.spec import (
    ARMS,
    DENSE_KERNEL,
    EAGER,
    FUSION,
    ITERATIVE_SPARSE,
    LINEAR_AA,
    SPARSE_KERNEL,
    BackendsRunSpec,
)
from seqlab.studies.codesign.workbench.arms import Arm
from seqlab.studies.codesign.workbench.bench import Bench, Found, Prepared, check_kernel, prepare
from seqlab.studies.codesign.workbench.metrics import Metrics, latency_metric
from seqlab.studies.codesign.workbench.names import ITERATIVE, LINEAR_PT
from seqlab.threads import fewer_threads

Compile = Callable[..., Compiled]


@dataclass
class _Programs:
    """What the compilers of one kernel made.

    Attributes:
        calls: COMPILER/ARM -> timed call.
        metrics: The same -> time to compile, and numbers of graphs.
        errors: The same -> relative difference of the logits.
        lacking: Compiler -> why it cannot be had.
    """

    calls: dict[str, Callable[[], object]] = field(default_factory=dict)
    metrics: dict[str, Metrics] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)


def compare_backends(
    bench: Bench, spec: BackendsRunSpec, folder: Path, make: Compile = compile_model
) -> Found:
    """Compile, check and time every arm by every compiler, with dense and with sparse kernels.

    Args:
        bench: The architecture.
        spec: Settings of the run.
        folder: For what compilers write.
        make: Compiles; `seqlab.models.compilers.compile_model`.

    Raises:
        UserError: An arm or a compiled model computes something else, or the machine is loaded.
    """
    found = Found()
    names = dict.fromkeys(name for arms in ARMS.values() for name in arms if name != LINEAR_AA)
    built = bench.build(list(names))
    linear = built[LINEAR_PT]
    built[LINEAR_AA] = Arm(copy.deepcopy(linear.model), linear.order, linear)
    gates = bench.gate(built)
    for kernel, chosen in ARMS.items():
        arms = {name: built[name] for name in chosen}
        # Sparse kernels are ours; only what runs them as they are has a row.
        compilers = [c for c in spec.compilers if kernel == DENSE_KERNEL or c in FUSION]
        prepared = prepare(bench, arms, kernel)
        checks = check_kernel(bench, arms, prepared)
        with fewer_threads(spec.bench.timing.threads), unbroken():
            programs = _compile_all(bench, spec, prepared, compilers, folder / kernel, make)
        sparse: dict[str, Check] = {}
        if kernel == DENSE_KERNEL:
            meant = {ITERATIVE_SPARSE: built[ITERATIVE]}
            by_kernel = prepare(bench, meant, SPARSE_KERNEL)
            sparse = check_kernel(bench, meant, by_kernel)
            programs.calls[f"{EAGER}/{ITERATIVE_SPARSE}"] = by_kernel[ITERATIVE_SPARSE].call
        latency, loads = bench.time(programs.calls, spec.repeats, kernel)
        found.add_latency(f"{kernel}/latency", latency, loads)
        for name, check in sparse.items():
            found.add(
                f"{kernel}/{EAGER}/{name}",
                {"latency_ms": latency_metric(latency, f"{EAGER}/{name}")},
                {**gates[ITERATIVE], "product": check},
            )
        for compiler in compilers:
            for name in chosen:
                key = f"{compiler}/{name}"
                place = f"{kernel}/{key}"
                if compiler in programs.lacking:
                    found.add(place, _not_had(programs.lacking[compiler]))
                    continue
                metrics = {"latency_ms": latency_metric(latency, key), **programs.metrics[key]}
                if kernel == DENSE_KERNEL and compiler == EAGER:
                    metrics |= _quality(bench, built[name])
                compiled = Check(
                    passed=True, value=programs.errors[key], tolerance=TOLERANCE, detail=""
                )
                all_checks = {**gates[name], "product": checks[name], "compiled": compiled}
                found.add(place, metrics, all_checks)
    return found


def _compile_all(
    bench: Bench,
    spec: BackendsRunSpec,
    prepared: Mapping[str, Prepared],
    compilers: Sequence[str],
    folder: Path,
    make: Compile,
) -> _Programs:
    inputs = bench.subject.compiled_inputs()
    if inputs is None:
        raise UserError(
            "its timed call takes more than a tensor, which compilers cannot be given",
            where=f"architecture {bench.subject.name}",
            fix="leave it out of codesign.backends.architectures_measured",
        )
    with torch.inference_mode():
        wanted = {name: one.call() for name, one in prepared.items()}
    programs = _Programs()
    for compiler in compilers:
        first: Compiled | None = None
        for name, one in prepared.items():
            key = f"{compiler}/{name}"
            try:
                compiled = make(
                    one.arm.model,
                    inputs,
                    compiler,
                    spec.bench.timing.threads,
                    cache=folder / key,
                    mode=spec.mode,
                    trials=spec.trials,
                    like=first,
                )
            except Unavailable as error:
                # Without one of its arms a compiler has no row: all or none.
                programs.lacking[compiler] = error.reason
                for made in (programs.calls, programs.metrics, programs.errors):
                    for other in prepared:
                        made.pop(f"{compiler}/{other}", None)
                break
            programs.errors[key] = check_compiled(compiled, wanted[name])
            programs.calls[key] = compiled.call
            programs.metrics[key] = _described(compiled, first)
            first = first or compiled
    return programs


def _described(compiled: Compiled, first: Compiled | None) -> Metrics:
    """Return the time to compile, where all of it was spent, and the numbers of graphs."""
    again = first is not None and compiled.exported is not None
    metrics = {
        "compile_s": Metric(
            value=None if again else compiled.seconds,
            unit="s",
            provenance="measured",
            reason="exported with another arm" if again else None,
        )
    }
    for name in ("graphs", "graph_breaks"):
        if name in compiled.details:
            count = compiled.details[name]
            assert isinstance(count, int)
            metrics[name] = Metric(value=count, unit="1", provenance="counted")
    return metrics


def _not_had(reason: str) -> Metrics:
    return {
        name: Metric(value=None, unit=unit, provenance="measured", reason=reason)
        for name, unit in (("latency_ms", "ms"), ("compile_s", "s"))
    }


def _quality(bench: Bench, arm: Arm) -> Metrics:
    score = bench.score(arm)
    if score is None:
        return {}
    return {score.metric: Metric(value=score.value, unit=score.unit, provenance="measured")}
