"""Step: one run of the cache profiles: one architecture, one seed, every profile."""

from __future__ import annotations

from seqlab.provenance.machine import describe_machine
from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.profiles.run import measure_profiles
from seqlab.studies.codesign.profiles.spec import ProfilesRunSpec
from seqlab.studies.codesign.workbench.bench import Bench
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_profiles(
    spec: ProfilesRunSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Check, simulate and time the arms of one architecture with one seed.

    Raises:
        UserError: An asset is missing, an arm computes something else, or the machine is loaded.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    subject = open_subject(name, architecture, assets, spec.seed, context.torch_device())
    found = measure_profiles(Bench(subject, spec.bench, spec.seed), spec, describe_machine())
    write_run(
        spec,
        found,
        experiment="profiles",
        cell={"architecture": name, "model": architecture.asset, "pattern": architecture.pattern},
        record=record,
        samples=samples,
        context=context,
        rehearsal=subject.rehearsal,
        device=subject.device,
    )
