"""Metrics of products: what they miss in simulated caches, what was timed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from seqlab.kernels.cachesim import Counts
from seqlab.measure.latency import Latency
from seqlab.provenance.record import Metric
from seqlab.quiet import map_in_threads
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.memory import hierarchy_of
from seqlab.studies.codesign.workbench.subject import Product

Metrics = dict[str, Metric]


def simulated(products: Iterable[Product], caches: Sequence[CacheSpec]) -> list[Counts]:
    """Return what each product misses in caches that start empty.

    On as many threads as torch has: traces and simulator hold no lock of the interpreter.
    """

    def one(product: Product) -> Counts:
        hierarchy = hierarchy_of(caches)
        for piece in product.trace():
            hierarchy.access(*piece)
        return hierarchy.counts()

    return map_in_threads(one, products, torch.get_num_threads())


def counted(counts: Sequence[Counts]) -> Metrics:
    """Return hit rates per level and traffic, summed over products.

    A hit rate is hits over lookups of that level; where nothing reaches a level it is null. A
    layout that makes the first cache hit more leaves the second one the loads that are hard, so
    that its rate may fall; `L1_L2_share`, of all loads and stores what the first two serve, has no
    such flaw.
    """
    metrics: Metrics = {}
    if len(counts[0].levels) > 1:
        looked_up = sum(c.levels[0].accesses for c in counts)
        left = sum(c.levels[1].misses for c in counts)
        metrics["L1_L2_share"] = Metric(
            value=1 - left / looked_up if looked_up else None,
            unit="1",
            provenance="simulated",
            reason=None if looked_up else "nothing was loaded or stored",
        )
    for level in range(len(counts[0].levels)):
        name = counts[0].levels[level].name
        seen = sum(c.levels[level].accesses for c in counts)
        hits = sum(c.levels[level].hits for c in counts)
        metrics[f"{name}_hit_rate"] = Metric(
            value=hits / seen if seen else None,
            unit="1",
            provenance="simulated",
            reason=None if seen else f"nothing reached {name}",
        )
        metrics[f"{name}_misses"] = Metric(value=seen - hits, unit="lines", provenance="simulated")
    metrics["dram_bytes"] = Metric(
        value=sum(c.dram_bytes for c in counts), unit="bytes", provenance="simulated"
    )
    return metrics


def latency_metric(latency: Latency, arm: str) -> Metric:
    """Return the median of a run in milliseconds."""
    return Metric(value=latency.median_s(arm) * 1e3, unit="ms", provenance="measured")


def traffic_metric(dram_bytes: Metric, latency: Metric) -> Metric:
    """Return simulated bytes over measured time, in GB/s; simulated, for its bytes are."""
    assert dram_bytes.value is not None and latency.value is not None
    return Metric(
        value=dram_bytes.value / latency.value * 1e-6, unit="GB/s", provenance="simulated"
    )
