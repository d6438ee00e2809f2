"""Step: one run of the test of path dependence: one seed, three orders of layout and pruning."""

from __future__ import annotations

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.paths.run import measure_densities, measure_equal_quality
from seqlab.studies.codesign.paths.spec import PathsRunSpec
from seqlab.studies.codesign.workbench.bench import Bench, Found
from seqlab.studies.codesign.workbench.record import write_run
from seqlab.studies.codesign.workbench.subjects import open_subject


def run_paths(
    spec: PathsRunSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Measure the arms at equal shares of pruned tiles and at equal quality.

    Raises:
        UserError: An asset is missing, an arm computes something else, or the machine is loaded.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    subject = open_subject(name, architecture, assets, spec.seed, context.torch_device())
    bench, found = Bench(subject, spec.bench, spec.seed), Found()
    measure_densities(bench, spec, found)
    measure_equal_quality(bench, spec, found)
    write_run(
        spec,
        found,
        experiment="paths",
        cell={"architecture": name, "model": architecture.asset, "tile": spec.tile},
        record=record,
        samples=samples,
        context=context,
        rehearsal=subject.rehearsal,
        device=subject.device,
    )
