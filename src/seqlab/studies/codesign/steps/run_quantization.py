"""Step: one run of Figure 2; writes its record and raw samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from seqlab.data.sources import read_origin
from seqlab.data.tokens import load_tokens
from seqlab.measure.latency import Latency
from seqlab.models.equivalence import Equivalence
from seqlab.models.pretrained import load_causal_lm
from seqlab.models.sites import mamba_sites
from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Check, Metric, Record, write_record, write_samples
from seqlab.spec import Context, In, Out
from seqlab.studies.codesign.quantization import arms as names
from seqlab.studies.codesign.quantization.layout_file import read_layout
from seqlab.studies.codesign.quantization.run import (
    Quality,
    Run,
    check_layouts,
    check_products,
    layout_metrics,
    measure_latency,
    measure_quality,
)
from seqlab.studies.codesign.quantization.spec import RunSpec

log = logging.getLogger(__name__)


def run_quantization(
    spec: RunSpec,
    *,
    model: In,
    tokens: In,
    layouts: In,
    record: Out,
    samples: Out,
    context: Context,
) -> None:
    """Build, check, score and time all arms of one cell with one seed.

    Raises:
        UserError: A group size that does not divide, a layout that changes the function, a
            quantised product that is wrong, or a machine too loaded to time anything.
    """
    rehearsal = read_origin(model).rehearsal
    dense = load_causal_lm(model, device=context.torch_device()).eval()
    sites = mamba_sites(dense.config)
    run = Run(
        spec=spec,
        model=dense,
        sites=sites,
        train=load_tokens(tokens, "train"),
        held_out=load_tokens(tokens, "test"),
        dense_layout=read_layout(layouts, sites, spec.solver.block_for(spec.scheme)),
        backend="numba" if context.torch_device() == "cpu" else "torch",
    )
    arms = run.build()
    gates = check_layouts(run, arms)
    products = check_products(run, arms)
    quality = measure_quality(run, arms)
    layout = layout_metrics(run, arms)
    latency, loads = measure_latency(run, arms, context.threads)
    log.info("foreign load while timing: %s cores", loads[-1].cpu_per_s)
    samples_sha256 = write_samples(samples, _samples(quality, latency))
    write_record(
        record,
        Record(
            study="codesign",
            experiment="quantization",
            cell={"model": spec.model, "scheme": spec.scheme, "bits": spec.bits},
            seed=spec.seed,
            arms={
                name: Arm(
                    metrics=_metrics(name, quality, layout, latency),
                    checks=_checks(name, gates, products),
                    samples_path=samples.name,
                    samples_sha256=samples_sha256,
                )
                for name in (*arms, names.PLANTED)
            },
            environment=environment(spec.model_dump(mode="json"), context.code, context.threads)
            | {
                "device": context.torch_device(),
                "backends": {"quantized_product": run.backend, "scan": dense.scan_backend},
                "foreign_load": [load.as_dict() for load in loads],
            },
            rehearsal=rehearsal,
        ),
    )


def _metrics(
    name: str,
    quality: Mapping[str, Quality],
    layout: Mapping[str, Mapping[str, Metric]],
    latency: Mapping[str, Latency],
) -> dict[str, Metric]:
    metrics: dict[str, Metric] = dict(layout.get(name, {}))
    if name in quality:
        score = quality[name]
        metrics["bits_per_byte"] = Metric(
            value=score.bits_per_byte, unit="bits/byte", provenance="measured"
        )
        metrics["logit_error"] = Metric(value=score.logit_error, unit="1", provenance="measured")
    for metric, timed in latency.items():
        if name in timed.samples_ns:
            metrics[metric] = Metric(
                value=timed.median_s(name) * 1e3, unit="ms", provenance="measured"
            )
    return metrics


def _checks(
    name: str, gates: Mapping[str, Equivalence], products: Mapping[str, Check]
) -> dict[str, Check]:
    checks = {}
    if name in gates:
        gate = gates[name]
        checks["layout_equivalence"] = Check(
            passed=gate.passed, value=gate.max_abs, tolerance=gate.tolerance, detail=gate.detail
        )
    if name in products:
        checks["quantized_product"] = products[name]
    return checks


def _samples(
    quality: Mapping[str, Quality], latency: Mapping[str, Latency]
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, score in quality.items():
        arrays[f"{name}/window_nats"] = score.nats
    for metric, timed in latency.items():
        for arm, values in timed.samples_ns.items():
            arrays[f"{arm}/{metric.removesuffix('_ms')}_ns"] = values
    return arrays
