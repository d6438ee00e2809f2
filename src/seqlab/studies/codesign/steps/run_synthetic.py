"""Step: one run of Figure 3; writes its record and every hit rate."""

from __future__ import annotations

import logging

from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Metric, Record, write_record, write_samples
from seqlab.spec import Context, Out
from seqlab.studies.codesign.synthetic.simulate import locality
from seqlab.studies.codesign.synthetic.spec import RunSpec

log = logging.getLogger(__name__)


def run_synthetic(spec: RunSpec, *, record: Out, samples: Out, context: Context) -> None:
    """Simulate every graph, layout and cache with one seed."""
    found = {}
    for graph in spec.graphs:
        found[graph.name] = locality(graph, spec)
        log.info("%s: %d edges", graph.name, found[graph.name].edges)
    samples_sha256 = write_samples(
        samples,
        {
            f"{name}/{key}": getattr(result, key)
            for name, result in found.items()
            for key in ("q_frac", "q_newman", "hit_rate")
        },
    )
    write_record(
        record,
        Record(
            study="codesign",
            experiment="synthetic",
            cell={"blocks": str(list(spec.blocks)), "capacities": str(list(spec.capacities))},
            seed=spec.seed,
            arms={
                name: Arm(
                    metrics={
                        "mixing": Metric(value=result.mixing, unit="1", provenance="counted"),
                        "edges": Metric(value=result.edges, unit="edges", provenance="counted"),
                        "mean_hit_rate": Metric(
                            value=float(result.hit_rate.mean()), unit="1", provenance="simulated"
                        ),
                    },
                    samples_path=samples.name,
                    samples_sha256=samples_sha256,
                )
                for name, result in found.items()
            },
            environment=environment(spec.model_dump(mode="json"), context.code, context.threads),
        ),
    )
