"""Step: one run of the trade-off between latency and quality: every sparsity with one seed."""

from __future__ import annotations

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.pareto.run import measure_learned, measure_sparsities
from seqlab.studies.codesign.pareto.spec import ParetoRunSpec
from seqlab.studies.codesign.workbench.bench import Bench, Found
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_pareto(
    spec: ParetoRunSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Measure all arms at all sparsities, and the model with trained masks, the last asset.

    Raises:
        UserError: An asset is missing, an arm computes something else, or the machine is loaded.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    *own, learned = assets
    subject = open_subject(name, architecture, own, spec.seed, context.torch_device())
    bench, found = Bench(subject, spec.bench, spec.seed), Found()
    measure_sparsities(bench, spec.sparsities, spec.repeats, found)
    measure_learned(bench, learned, spec.repeats, found)
    write_run(
        spec,
        found,
        experiment="pareto",
        cell={"architecture": name, "model": architecture.asset},
        record=record,
        samples=samples,
        context=context,
        rehearsal=subject.rehearsal,
        device=subject.device,
    )
