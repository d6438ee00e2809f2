"""Step: one run of an ablation: one cell, one seed, every variant interleaved."""

from __future__ import annotations

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.ablations.run import measure_cell
from seqlab.studies.codesign.ablations.spec import RunAblationSpec
from seqlab.studies.codesign.workbench.bench import Bench
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_ablations(
    spec: RunAblationSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Build, check, score, simulate and time every variant of a cell with one seed.

    Raises:
        UserError: An asset is missing, a variant computes something else, or the machine is loaded.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    subject = open_subject(name, architecture, assets, spec.seed, context.torch_device())
    few = None
    if spec.few_windows is not None:
        scarce = architecture.model_copy(update={"calibration": spec.few_windows})
        few = open_subject(name, scarce, assets, spec.seed, context.torch_device())
    found = measure_cell(spec, Bench(subject, spec.bench, spec.seed), few)
    write_run(
        spec,
        found,
        experiment="ablations",
        cell={"architecture": name, "model": architecture.asset, "pattern": architecture.pattern},
        record=record,
        samples=samples,
        context=context,
        rehearsal=subject.rehearsal,
        device=subject.device,
    )
