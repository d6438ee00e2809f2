"""Figure 4 and the figure of the bandwidth: arms of a Mamba over grids of batch and length."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from seqlab.measure.load import measure_quietly
from seqlab.measure.roofline import copy_bandwidth, matmul_roofline
from seqlab.models.sparse_linear import weight_matrix
from seqlab.provenance.record import Metric
from seqlab.studies.codesign.memory import evicting
from seqlab.studies.codesign.sweeps.spec import BandwidthSpec, BatchSpec, level_name
from seqlab.studies.codesign.workbench import names
from seqlab.studies.codesign.workbench.bench import (
    Bench,
    Found,
    Prepared,
    check_kernel,
    in_sequence,
    prepare,
)
from seqlab.studies.codesign.workbench.mamba import MambaSubject
from seqlab.studies.codesign.workbench.metrics import Metrics, latency_metric
from seqlab.studies.codesign.workbench.subject import forward_pass
from seqlab.threads import fewer_threads

KERNEL = "csr"
ARMS = (names.LINEAR_PT, names.ITERATIVE, names.DENSE, names.DENSE_AA)
# Those whose traffic is simulated; the dense ones are there for noise and scale.
SIMULATED = (names.LINEAR_PT, names.ITERATIVE)
MACHINE = "roofline/all/machine"


def measure_batches(bench: Bench, spec: BatchSpec, found: Found) -> None:
    """Check arms once, and time them at every batch size."""
    subject, prepared = _prepared(bench, found)
    for batch in spec.batches:
        calls = _calls(subject, prepared, batch, spec.length)
        place = f"{KERNEL}/{batch}"
        repeats = spec.calls.calls(batch * spec.length)
        latency, loads = bench.time(dict(calls), repeats, place)
        found.add_latency(f"{place}/latency", latency, loads)
        for arm in ARMS:
            found.add(f"{place}/{arm}", {"latency_ms": latency_metric(latency, arm)})


def measure_bandwidth(bench: Bench, spec: BandwidthSpec, found: Found) -> None:
    """Measure what the machine can do; check arms once, and time and simulate them at every level.

    Intensity is that of the traced products: operations counted over simulated bytes from and to
    memory. Below the ridge of the measured roofline they are bound by memory.
    """
    peak, bandwidth = _roofline(bench, found)
    subject, prepared = _prepared(bench, found)
    for batch, length in spec.pairs:
        calls = _calls(subject, prepared, batch, length)
        subject.ids = subject.text(batch, length)
        products = {arm: subject.products(prepared[arm].arm.model, KERNEL, None) for arm in ARMS}
        place = f"{KERNEL}/{level_name(batch, length)}"
        repeats = spec.calls.calls(batch * length)
        whole, whole_loads = bench.time(dict(calls), repeats, place)
        site_calls = {arm: in_sequence(products[arm]) for arm in ARMS}
        site, site_loads = bench.time(
            dict(site_calls),
            repeats,
            f"{place}/site",
            before_each=evicting(bench.spec.caches, subject.device),
        )
        found.add_latency(f"{place}/latency", whole, whole_loads)
        found.add_latency(f"{place}/site_latency", site, site_loads)
        for arm in ARMS:
            metrics = {
                "latency_ms": latency_metric(whole, arm),
                "site_latency_ms": latency_metric(site, arm),
            }
            flops = 2.0 * batch * length * _stored(subject, prepared[arm])
            metrics["flops"] = Metric(value=flops, unit="FLOP", provenance="counted")
            metrics["gflop_per_s"] = Metric(
                value=flops / site.median_s(arm) * 1e-9, unit="GFLOP/s", provenance="measured"
            )
            if arm in SIMULATED:
                simulated = bench.simulate(products[arm])["dram_bytes"]
                metrics |= placed(simulated, flops, site.median_s(arm), peak, bandwidth)
            found.add(f"{place}/{arm}", metrics)


def placed(
    dram_bytes: Metric, flops: float, seconds: float, peak: float, bandwidth: float
) -> Metrics:
    """Return where products stand below the roofline.

    Args:
        dram_bytes: Simulated bytes from and to memory; a product that moves none cannot be placed.
        flops: Operations.
        seconds: Their time.
        peak: Most operations per second of the machine.
        bandwidth: Its bytes per second from and to memory.
    """
    found = {"dram_bytes": dram_bytes}
    if not dram_bytes.value:
        reason = "no byte comes from memory"
        nothing = Metric(value=None, unit="1", provenance="simulated", reason=reason)
        return found | dict.fromkeys(("intensity", "bandwidth_share", "memory_bound"), nothing)
    intensity = flops / dram_bytes.value
    values = {
        "intensity": (intensity, "FLOP/byte"),
        "bandwidth_share": (dram_bytes.value / seconds / bandwidth, "1"),
        "memory_bound": (float(intensity < peak / bandwidth), "1"),
    }
    return found | {
        name: Metric(value=value, unit=unit, provenance="simulated")
        for name, (value, unit) in values.items()
    }


def _prepared(bench: Bench, found: Found) -> tuple[MambaSubject, dict[str, Prepared]]:
    """Return the arms under the kernel; their checks and descriptions go to level `all`."""
    subject = bench.subject
    assert isinstance(subject, MambaSubject)
    arms = bench.build(ARMS)
    gates = bench.gate(arms)
    prepared = prepare(bench, arms, KERNEL)
    checks = check_kernel(bench, arms, prepared)
    described = bench.describe(arms)
    for arm in arms:
        found.add(f"{KERNEL}/all/{arm}", described[arm], {**gates[arm], "product": checks[arm]})
    return subject, prepared


def _calls(
    subject: MambaSubject, prepared: Mapping[str, Prepared], batch: int, length: int
) -> dict[str, Callable[[], Tensor]]:
    """Return one forward pass of every arm over the same text."""
    ids = subject.text(batch, length)
    return {arm: forward_pass(prepared[arm].arm.model, ids) for arm in ARMS}


def _stored(subject: MambaSubject, prepared: Prepared) -> int:
    """Return the non-zero weights of the traced layers."""
    layers = (prepared.arm.model.get_submodule(name) for name in subject.traced)
    return sum(int(weight_matrix(layer).count_nonzero()) for layer in layers)


def _roofline(bench: Bench, found: Found) -> tuple[float, float]:
    """Measure the most operations and bytes per second; return both."""
    timing = bench.spec.timing

    def measure() -> tuple[float, float]:
        return matmul_roofline(timing.threads), copy_bandwidth(timing.threads)

    with fewer_threads(timing.threads):
        (peak, bandwidth), loads = measure_quietly(
            measure,
            limit=timing.max_foreign_load,
            attempts=timing.attempts,
            key="codesign.workbench.timing.max_foreign_load",
        )
    found.loads["roofline"] = loads
    found.add(
        MACHINE,
        {
            "peak_gflop_per_s": Metric(value=peak * 1e-9, unit="GFLOP/s", provenance="measured"),
            "stream_gb_per_s": Metric(value=bandwidth * 1e-9, unit="GB/s", provenance="measured"),
            "ridge": Metric(value=peak / bandwidth, unit="FLOP/byte", provenance="measured"),
        },
    )
    return peak, bandwidth
