"""Step: one tidy table of all run records of an experiment on the workbench."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.provenance.observations import observations
from seqlab.provenance.record import Record
from seqlab.spec import InFolder, Out
from seqlab.studies.codesign.experiment import CollectSpec

COLUMNS = ("cell", "model", "kernel", "level", "arm", "seed")


def collect_records(spec: CollectSpec, *, runs: InFolder, table: Out) -> None:
    """Read every run record below `runs` and write one row per arm and metric.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    paths = [runs / member for member in spec.members("runs")]
    write_text(table, observations(paths, COLUMNS, _place))


def _place(record: Record, arm: str) -> tuple[object, ...]:
    """Return what tells a row apart; runs on nothing but drawn data have no model."""
    cell = record.cell
    return (cell["cell"], cell.get("model", ""), *arm.split("/"), record.seed)
