"""One run of the profiles: what each arm moves from and to memory, cache by cache, and its latency.

The products of the traced layers start in empty caches, as everywhere in the study. A GPU is its
second cache alone: rows of a product are spread over the multiprocessors, so that the first cache
of one sees a part of the rows that no sequential trace tells, while the second one is shared and
sees them all. What it can keep between neighbouring rows is kept here too; its replacement is LRU.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from seqlab.kernels.cachesim import Hierarchy, Level
from seqlab.provenance.record import Metric
from seqlab.studies.codesign.memory import evicting
from seqlab.studies.codesign.profiles.spec import (
    HERE,
    KERNEL,
    LINEAR_AA,
    MEASURED,
    SIMULATED_ARMS,
    ProfilesRunSpec,
)
from seqlab.studies.codesign.workbench.arms import Arm
from seqlab.studies.codesign.workbench.bench import Bench, Found, check_kernel, in_sequence, prepare
from seqlab.studies.codesign.workbench.metrics import Metrics, latency_metric
from seqlab.studies.codesign.workbench.names import LINEAR_PT
from seqlab.studies.codesign.workbench.subject import Product

# Least ways of the caches of a machine: systems tell sizes, virtual ones tell nothing more. More
# are taken where the number of sets would be no power of two.
_WAYS = (8, 8, 16)
_MOST_WAYS = 32
_LINE = 64


def measure_profiles(bench: Bench, spec: ProfilesRunSpec, machine: Mapping[str, Any]) -> Found:
    """Check, simulate and time the arms of one architecture.

    Args:
        bench: The architecture.
        spec: Settings of the run.
        machine: What `seqlab.provenance.machine.describe_machine` tells.

    Raises:
        UserError: An arm computes something else, or the machine is loaded.
    """
    found = Found()
    arms = bench.build(SIMULATED_ARMS)
    linear = arms[LINEAR_PT]
    arms[LINEAR_AA] = Arm(copy.deepcopy(linear.model), linear.order, linear)
    gates = bench.gate(arms)
    prepared = prepare(bench, arms, KERNEL)
    checks = check_kernel(bench, arms, prepared)
    products = {
        name: bench.subject.products(one.arm.model, KERNEL, one.arm.order.nodes)
        for name, one in prepared.items()
    }
    latency, loads = bench.time(
        {name: in_sequence(part) for name, part in products.items()},
        spec.repeats,
        f"{KERNEL}/{MEASURED}",
        before_each=evicting(bench.spec.caches, bench.subject.device),
    )
    found.add_latency(f"{KERNEL}/{MEASURED}/site_latency", latency, loads)
    for name in arms:
        metrics: Metrics = {"site_latency_ms": latency_metric(latency, name)}
        all_checks = {**gates[name], "product": checks[name]}
        found.add(f"{KERNEL}/{MEASURED}/{name}", metrics, all_checks)
    levels = {
        name: [Level(c.size, c.ways, c.line, c.name) for c in profile.caches]
        for name, profile in spec.profiles.items()
    }
    here = caches_of(machine)
    if here:
        levels[HERE] = here
    for name in SIMULATED_ARMS:
        for profile, metric in traffic(products[name], levels).items():
            found.add(f"{KERNEL}/{profile}/{name}", {"dram_bytes": metric})
        if not here:
            unknown = Metric(
                value=None,
                unit="bytes",
                provenance="simulated",
                reason="the system does not tell the caches of this machine",
            )
            found.add(f"{KERNEL}/{HERE}/{name}", {"dram_bytes": unknown})
    return found


def traffic(
    products: Sequence[Product], profiles: Mapping[str, Sequence[Level]]
) -> dict[str, Metric]:
    """Return profile -> bytes from and to memory, summed over products, caches empty before each.

    Every trace is made once and fed to all profiles.
    """
    total = dict.fromkeys(profiles, 0)
    for product in products:
        hierarchies = {name: Hierarchy(levels) for name, levels in profiles.items()}
        for piece in product.trace():
            for hierarchy in hierarchies.values():
                hierarchy.access(*piece)
        for name, hierarchy in hierarchies.items():
            total[name] += hierarchy.counts().dram_bytes
    return {
        name: Metric(value=value, unit="bytes", provenance="simulated")
        for name, value in total.items()
    }


def caches_of(machine: Mapping[str, Any]) -> list[Level]:
    """Return the caches of a machine; none where its system does not tell the first two."""
    sizes = [machine.get(key) for key in ("l1d_bytes", "l2_bytes", "l3_bytes")]
    if not (sizes[0] and sizes[1]):
        return []
    line = int(machine.get("cache_line_bytes") or _LINE)
    return [
        Level(int(size), _ways(int(size), line, least), line, f"L{level}")
        for level, (size, least) in enumerate(zip(sizes, _WAYS, strict=True), start=1)
        if size
    ]


def _ways(size: int, line: int, least: int) -> int:
    """Return the fewest ways, from `least` on, that give sets by a power of two, or whole sets."""
    lines = size // line
    fitting = [ways for ways in range(least, _MOST_WAYS + 1) if lines % ways == 0]
    for ways in fitting:
        sets = lines // ways
        if sets & (sets - 1) == 0:
            return ways
    return fitting[0] if fitting else 1
