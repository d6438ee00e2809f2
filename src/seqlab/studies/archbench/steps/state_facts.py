"""Step: the facts that the caption of a figure states."""

from __future__ import annotations

import csv

from seqlab.provenance.atomic import write_json
from seqlab.spec import In, Out
from seqlab.studies.archbench.steps_spec import FactsSpec


def state_facts(spec: FactsSpec, *, statistics: In, facts: Out) -> None:
    """Write scale, n, devices, and what the experiment states."""
    # Not by pandas: loading it takes longer than all of this.
    with statistics.open(newline="", encoding="utf-8") as file:
        devices = {row["device"] for row in csv.DictReader(file)} - {""}
    write_json(
        facts,
        {
            **spec.facts,
            "scale": spec.scale,
            "n": spec.seeds,
            "devices": "; ".join(sorted(devices)),
        },
    )
