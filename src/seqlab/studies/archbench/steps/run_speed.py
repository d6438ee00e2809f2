"""Step: one process of the micro-benchmark over the length of the sequence."""

from __future__ import annotations

from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Metric, Record, write_record, write_samples
from seqlab.spec import Context, Out
from seqlab.studies.archbench.speed import time_lengths
from seqlab.studies.archbench.steps_spec import SpeedRunSpec


def run_speed(spec: SpeedRunSpec, *, record: Out, samples: Out, context: Context) -> None:
    """Time every architecture at every length.

    Raises:
        UserError: The machine is loaded.
    """
    device = context.torch_device()
    found = time_lengths(spec, device)
    raw = {
        f"T{length}/{name}/ns": values
        for length, (latency, _) in found.items()
        for name, values in latency.samples_ns.items()
    }
    digest = write_samples(samples, raw)
    arms = {
        f"{name}/T{length}": Arm(
            metrics={
                "step_ms": Metric(
                    value=latency.median_s(name) * 1e3, unit="ms", provenance="measured"
                )
            },
            samples_path=samples.name,
            samples_sha256=digest,
        )
        for length, (latency, _) in found.items()
        for name in latency.samples_ns
    }
    loads = {f"T{length}": [load.as_dict() for load in both[1]] for length, both in found.items()}
    described = environment(spec.model_dump(mode="json"), context.code, context.threads)
    write_record(
        record,
        Record(
            study="archbench",
            experiment="speed",
            cell={"task": "speed"},
            seed=spec.seed,
            arms=arms,
            environment=described | {"device": device, "foreign_load": loads},
        ),
    )
