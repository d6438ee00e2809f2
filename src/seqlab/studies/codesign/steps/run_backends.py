"""Step: one run under compilers: one architecture, one seed, every arm by every compiler."""

from __future__ import annotations

import tempfile
from pathlib import Path

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.backends.run import compare_backends
from seqlab.studies.codesign.backends.spec import BackendsRunSpec
from seqlab.studies.codesign.workbench.bench import Bench
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_backends(
    spec: BackendsRunSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Compile, check and time every arm of one architecture with one seed.

    Raises:
        UserError: An asset is missing, an arm or a compiled model computes something else, or the
            machine is loaded.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    subject = open_subject(name, architecture, assets, spec.seed, context.torch_device())
    with tempfile.TemporaryDirectory() as folder:
        found = compare_backends(Bench(subject, spec.bench, spec.seed), spec, Path(folder))
    write_run(
        spec,
        found,
        experiment="backends",
        cell={"architecture": name, "model": architecture.asset, "pattern": architecture.pattern},
        record=record,
        samples=samples,
        context=context,
        rehearsal=subject.rehearsal,
        device=subject.device,
    )
