"""Step: the facts that the caption of a figure states."""

from __future__ import annotations

from seqlab.provenance.atomic import write_json
from seqlab.spec import In, Out
from seqlab.studies.archbench.analysis.frames import read_table
from seqlab.studies.archbench.steps_spec import FactsSpec


def state_facts(spec: FactsSpec, *, statistics: In, facts: Out) -> None:
    """Write scale, n, devices, and what the experiment states."""
    devices = read_table(statistics)["device"].dropna().unique()
    write_json(
        facts,
        {
            **spec.facts,
            "scale": spec.scale,
            "n": spec.seeds,
            "devices": "; ".join(sorted(devices)),
        },
    )
