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
from seqlab.studies.codesign.quantization import names
from seqlab.studies.codesign.quantization.run import (
    Quality,
    Run,
    check_layouts,
    check_products,
    layout_metrics,
    measure_latency,
)
from seqlab.studies.codesign.quantization.spec import Quantization, RunSpec

log = logging.getLogger(__name__)


def run_quantization(
    spec: RunSpec, *, model: In, tokens: In, record: Out, samples: Out, context: Context
) -> None:
    """Build, check, score and time all arms of one model with one seed.

    Raises:
        UserError: A group size that does not divide, a layout that changes the function, a
            quantised product that is wrong, or a machine too loaded to time anything.
    """
    rehearsal = read_origin(model).rehearsal
    dense = load_causal_lm(model, device=context.torch_device()).eval()
    run = Run(
        spec=spec,
        model=dense,
        sites=mamba_sites(dense.config),
        train=load_tokens(tokens, "train"),
        held_out=load_tokens(tokens, "test"),
        backend="numba" if context.torch_device() == "cpu" else "torch",
    )
    parts = {}
    for quantization in spec.quantizations():
        parts[quantization] = _Part(run, quantization)
        run.forget()
        log.info("%s: foreign load %s cores", quantization.name, parts[quantization].foreign_load)
    samples_sha256 = write_samples(
        samples,
        {
            f"{quantization.name}/{name}": values
            for quantization, part in parts.items()
            for name, values in part.samples().items()
        },
    )
    write_record(
        record,
        Record(
            study="codesign",
            experiment="quantization",
            cell={"model": spec.model},
            seed=spec.seed,
            arms={
                f"{quantization.name}/{name}": Arm(
                    metrics=part.metrics(name),
                    checks=part.checks(name),
                    samples_path=samples.name,
                    samples_sha256=samples_sha256,
                )
                for quantization, part in parts.items()
                for name in part.names
            },
            environment=environment(spec.model_dump(mode="json"), context.code, context.threads)
            | {
                "device": context.torch_device(),
                "backends": {"quantized_product": run.backend, "scan": dense.scan_backend},
                "foreign_load": {
                    quantization.name: [load.as_dict() for load in part.loads]
                    for quantization, part in parts.items()
                },
            },
            rehearsal=rehearsal,
        ),
    )


class _Part:
    """What a run found of one scheme and number of bits; the models are gone when it is made."""

    def __init__(self, run: Run, quantization: Quantization) -> None:
        arms = run.build(quantization)
        self.gates: Mapping[str, Equivalence] = check_layouts(run, arms)
        self.products: Mapping[str, Check] = check_products(run, arms)
        self.quality: Mapping[str, Quality] = {name: run.quality(a) for name, a in arms.items()}
        self.layout = layout_metrics(run, arms, run.block(quantization))
        self.layouts = {name: arm.layout for name, arm in arms.items()}
        self.latency: Mapping[str, Latency]
        self.latency, self.loads = measure_latency(run, arms, quantization)
        self.names = (*arms, names.PLANTED)

    @property
    def foreign_load(self) -> float | None:
        """Cores that other processes used beside the measurement that counts."""
        return self.loads[-1].cpu_per_s

    def metrics(self, name: str) -> dict[str, Metric]:
        found: dict[str, Metric] = dict(self.layout.get(name, {}))
        if name in self.quality:
            score = self.quality[name]
            found["bits_per_byte"] = Metric(
                value=score.bits_per_byte, unit="bits/byte", provenance="measured"
            )
            found["logit_error"] = Metric(value=score.logit_error, unit="1", provenance="measured")
        for metric, timed in self.latency.items():
            if name in timed.samples_ns:
                found[metric] = Metric(
                    value=timed.median_s(name) * 1e3, unit="ms", provenance="measured"
                )
        return found

    def checks(self, name: str) -> dict[str, Check]:
        found = {}
        if name in self.gates:
            gate = self.gates[name]
            found["layout_equivalence"] = Check(
                passed=gate.passed, value=gate.max_abs, tolerance=gate.tolerance, detail=gate.detail
            )
        if name in self.products:
            found["quantized_product"] = self.products[name]
        return found

    def samples(self) -> dict[str, np.ndarray]:
        """Return everything raw: nats of each window, every duration, every layout."""
        arrays: dict[str, np.ndarray] = {}
        for name, score in self.quality.items():
            arrays[f"{name}/window_nats"] = score.nats
        for metric, timed in self.latency.items():
            for arm, values in timed.samples_ns.items():
                arrays[f"{arm}/{metric.removesuffix('_ms')}_ns"] = values
        for name, layout in self.layouts.items():
            for site, permutation in layout.permutations.items():
                arrays[f"{name}/layout/{site}"] = permutation.indices
        return arrays
