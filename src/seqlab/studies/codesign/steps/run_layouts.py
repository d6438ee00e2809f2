"""Step: one run over many layouts of one function."""

from __future__ import annotations

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.layouts.run import graph_layouts, measure_layouts, model_layouts
from seqlab.studies.codesign.layouts.spec import GRAPH_CELL, LayoutsRunSpec
from seqlab.studies.codesign.workbench.bench import Bench
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_layouts(
    spec: LayoutsRunSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Check, simulate and time every layout of one cell.

    Raises:
        UserError: An asset is missing, a layout changes the function, or the machine is loaded.
    """
    rehearsal, model, device = False, "", "cpu"
    if spec.cell == GRAPH_CELL:
        kernel, laid = "aggregate", graph_layouts(spec)
    else:
        ((name, architecture),) = spec.bench.architectures.items()
        kernel = spec.cell.partition("-")[2]
        # Seed 0 in every run: the layouts, and the inputs that they are solved on, stay the same.
        subject = open_subject(name, architecture, assets, 0, context.torch_device())
        rehearsal, model, device = subject.rehearsal, architecture.asset, subject.device
        laid = model_layouts(Bench(subject, spec.bench, spec.seed), kernel, spec.layouts)
    write_run(
        spec,
        measure_layouts(spec, laid, kernel, device),
        experiment="layouts",
        cell={"model": model},
        record=record,
        samples=samples,
        context=context,
        rehearsal=rehearsal,
        device=device,
    )
