"""Step: hardware counters of one arm's products on a GPU, by Nsight Compute."""

from __future__ import annotations

from seqlab.data.sources import read_origin
from seqlab.measure import ncu
from seqlab.provenance.atomic import write_text
from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.counters.profile import command, metrics_of, samples_of
from seqlab.studies.codesign.counters.spec import ProfileSpec
from seqlab.studies.codesign.steps.call_arm import call_arm
from seqlab.studies.codesign.workbench.bench import Found
from seqlab.studies.codesign.workbench.record import write_run


def profile_arm(
    spec: ProfileSpec, *, assets: Ins, record: Out, samples: Out, page: Out, context: Context
) -> None:
    """Profile one arm of one architecture; keep the raw page beside the record.

    Raises:
        UserError: Nsight Compute is missing, may not read counters, or took too long.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    program = command(call_arm.__name__, spec.call(), assets, context)
    profile, raw = ncu.profile(program, spec.timeout_s)
    write_text(page, raw)
    found = Found(samples=samples_of(profile))
    found.add(f"{spec.kernel}/all/{spec.arm}", metrics_of(profile))
    write_run(
        spec,
        found,
        experiment="profile",
        cell={"architecture": name, "model": architecture.asset},
        record=record,
        samples=samples,
        context=context,
        rehearsal=read_origin(assets[0]).rehearsal,
        device=context.torch_device(),
    )
