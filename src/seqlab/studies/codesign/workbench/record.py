"""Write the record of one run on the workbench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Record, write_record, write_samples
from seqlab.spec import Context
from seqlab.studies.codesign.experiment import RunSpec
from seqlab.studies.codesign.workbench.bench import Found


def write_run(
    spec: RunSpec,
    found: Found,
    *,
    experiment: str,
    cell: dict[str, Any],
    record: Path,
    samples: Path,
    context: Context,
    rehearsal: bool,
    device: str = "cpu",
) -> None:
    """Write record and raw samples of a run.

    Args:
        spec: Settings of the run.
        found: What it found.
        experiment: Name of the experiment.
        cell: What else names the point of its grid.
        record: Where the record goes.
        samples: Where the raw samples go, beside it.
        context: Of the step.
        rehearsal: Whether weights or data are those of a rehearsal.
        device: Where calls were timed. A record of a processor names no GPU beside it: devices are
            told apart by it.
    """
    digest = write_samples(samples, found.samples)
    described = environment(spec.model_dump(mode="json"), context.code, context.threads)
    if device == "cpu":
        described["machine"] = described["machine"] | {"gpus": []}
    write_record(
        record,
        Record(
            study="codesign",
            experiment=experiment,
            cell={"cell": spec.cell, **cell},
            seed=spec.seed,
            arms={
                name: Arm(
                    metrics=metrics,
                    checks=found.checks[name],
                    samples_path=samples.name,
                    samples_sha256=digest,
                )
                for name, metrics in found.metrics.items()
            },
            environment=described
            | {
                "device": device,
                "foreign_load": {
                    name: [load.as_dict() for load in loads] for name, loads in found.loads.items()
                },
            },
            rehearsal=rehearsal,
        ),
    )
