"""Step: one run of the layout controls; writes its record and raw samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch

from seqlab.kernels.cachesim import Counts
from seqlab.measure.latency import Latency, Warmup, measure_interleaved
from seqlab.measure.load import measure_quietly
from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Check, Metric, Record, write_record, write_samples
from seqlab.spec import Context, Out
from seqlab.studies.codesign.controls.names import DENSE
from seqlab.studies.codesign.controls.placements import joined, placements
from seqlab.studies.codesign.controls.run import (
    TOLERANCE,
    Product,
    check_products,
    products,
    simulated,
)
from seqlab.studies.codesign.controls.spec import RunSpec

log = logging.getLogger(__name__)


def run_controls(spec: RunSpec, *, record: Out, samples: Out, context: Context) -> None:
    """Check, simulate and time both kernels in every layout with one seed.

    Raises:
        UserError: A permuted product computes something else, or the machine is too loaded.
    """
    found = products(spec)
    errors = {kernel: check_products(layouts, kernel) for kernel, layouts in found.items()}
    counts = {
        kernel: {name: simulated(product, spec.caches) for name, product in layouts.items()}
        for kernel, layouts in found.items()
    }
    rng = np.random.default_rng([spec.seed, 2])
    with torch.inference_mode():
        timed, loads = measure_quietly(
            lambda: {kernel: _timed(spec, kernel, found[kernel], rng) for kernel in found},
            limit=spec.latency.max_foreign_load,
            attempts=spec.latency.attempts,
            key="codesign.controls.latency.max_foreign_load",
        )
    log.info("foreign load %s cores", loads[-1].cpu_per_s)
    samples_sha256 = write_samples(
        samples,
        {
            f"{kernel}/{name}/latency_ns": latency.samples_ns[name]
            for kernel, latency in timed.items()
            for name in found[kernel]
        },
    )
    arms = {
        f"{kernel}/{name}": Arm(
            metrics=_metrics(counts[kernel][name], timed[kernel], name),
            checks={
                "product": Check(
                    passed=True, value=errors[kernel][name], tolerance=TOLERANCE, detail=""
                )
            },
            samples_path=samples.name,
            samples_sha256=samples_sha256,
        )
        for kernel, layouts in found.items()
        for name in layouts
    }
    described = environment(spec.model_dump(mode="json"), context.code, context.threads)
    write_record(
        record,
        Record(
            study="codesign",
            experiment="controls",
            cell={"dense_columns": spec.dense.columns, "sparse_nodes": spec.sparse.nodes},
            seed=spec.seed,
            arms=arms,
            environment=described | {"foreign_load": [load.as_dict() for load in loads]},
        ),
    )


def _timed(
    spec: RunSpec, kernel: str, layouts: Mapping[str, Product], rng: np.random.Generator
) -> Latency:
    latency = spec.latency
    return joined(
        [
            measure_interleaved(
                calls,
                repeats=latency.dense_repeats if kernel == DENSE else latency.sparse_repeats,
                rng=rng,
                warmup=Warmup(window=3, max_calls=latency.warmup_max),
                threads=spec.threads,
            )
            for calls in placements(layouts, latency.placements, rng)
        ]
    )


def _metrics(counts: Counts, latency: Latency, name: str) -> dict[str, Metric]:
    found = {
        f"{level.name}_misses": Metric(value=level.misses, unit="lines", provenance="simulated")
        for level in counts.levels
    }
    found["dram_bytes"] = Metric(value=counts.dram_bytes, unit="bytes", provenance="simulated")
    found["latency_ms"] = Metric(
        value=latency.median_s(name) * 1e3, unit="ms", provenance="measured"
    )
    return found
