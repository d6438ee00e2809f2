"""Step: one run of a sweep: one cell, one seed, every level."""

from __future__ import annotations

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.sweeps.grids import measure_bandwidth, measure_batches
from seqlab.studies.codesign.sweeps.layer import measure_layer
from seqlab.studies.codesign.sweeps.spec import (
    BandwidthSpec,
    BatchSpec,
    LayerSpec,
    SweepsRunSpec,
)
from seqlab.studies.codesign.sweeps.width import measure_width
from seqlab.studies.codesign.workbench.bench import Bench, Found
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_sweeps(
    spec: SweepsRunSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Check and time every level of one sweep with one seed.

    Raises:
        UserError: An asset is missing, an order changes a function, or the machine is loaded.
    """
    found, rehearsal, cell, device = Found(), False, {}, "cpu"
    if spec.bench.architectures:
        ((name, architecture),) = spec.bench.architectures.items()
        if isinstance(spec.sweep, BandwidthSpec):
            architecture = architecture.model_copy(update={"traced": spec.sweep.traced})
        # Quality is a matter of the main experiment.
        architecture = architecture.model_copy(update={"quality": 0})
        # The roofline that bandwidth is held against is the processor's.
        if not isinstance(spec.sweep, BandwidthSpec):
            device = context.torch_device()
        subject = open_subject(name, architecture, assets, spec.seed, device)
        bench = Bench(subject, spec.bench, spec.seed)
        rehearsal, cell = subject.rehearsal, {"model": architecture.asset}
        match spec.sweep:
            case LayerSpec():
                measure_layer(bench, spec.sweep, found)
            case BatchSpec():
                measure_batches(bench, spec.sweep, found)
            case BandwidthSpec():
                measure_bandwidth(bench, spec.sweep, found)
    else:
        measure_width(spec, found)
    write_run(
        spec,
        found,
        experiment="sweeps",
        cell=cell,
        record=record,
        samples=samples,
        context=context,
        rehearsal=rehearsal,
        device=device,
    )
