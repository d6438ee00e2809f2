"""Step: one tidy table of all run records of an experiment on the workbench."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.provenance.observations import observations
from seqlab.spec import InFolder, Out
from seqlab.studies.codesign.experiment import CollectSpec

COLUMNS = ("cell", "kernel", "level", "arm", "seed")


def collect_records(spec: CollectSpec, *, runs: InFolder, table: Out) -> None:
    """Read every run record below `runs` and write one row per arm and metric.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    paths = [runs / member for member in spec.members("runs")]
    text = observations(
        paths, COLUMNS, lambda record, arm: (record.cell["cell"], *arm.split("/"), record.seed)
    )
    write_text(table, text)
