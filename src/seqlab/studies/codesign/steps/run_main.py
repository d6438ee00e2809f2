"""Step: one run of Table 1: one architecture, one seed, every arm under every kernel."""

from __future__ import annotations

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.experiment import RunSpec
from seqlab.studies.codesign.workbench.bench import Bench, Found, measure_arms
from seqlab.studies.codesign.workbench.names import ARMS
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_main(spec: RunSpec, *, assets: Ins, record: Out, samples: Out, context: Context) -> None:
    """Build, check, score, simulate and time every arm of one architecture with one seed.

    Raises:
        UserError: An asset is missing, an arm computes something else, or the machine is loaded.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    subject = open_subject(name, architecture, assets, spec.seed, context.torch_device())
    bench = Bench(subject, spec.bench, spec.seed)
    arms = bench.build(ARMS)
    gates, described = bench.gate(arms), bench.describe(arms)
    found = Found()
    for kernel in architecture.kernels:
        measure_arms(bench, arms, found, kernel=kernel)
        for arm in arms:
            found.add(f"{kernel}/all/{arm}", described[arm], gates[arm])
    write_run(
        spec,
        found,
        experiment="main",
        cell={"architecture": name, "model": architecture.asset, "pattern": architecture.pattern},
        record=record,
        samples=samples,
        context=context,
        rehearsal=subject.rehearsal,
        device=subject.device,
    )
