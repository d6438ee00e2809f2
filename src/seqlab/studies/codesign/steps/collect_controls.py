"""Step: one tidy table of all run records of the layout controls."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.provenance.observations import observations
from seqlab.spec import InFolder, Out
from seqlab.studies.codesign.controls.spec import CollectSpec

COLUMNS = ("kernel", "layout", "seed")


def collect_controls(spec: CollectSpec, *, runs: InFolder, table: Out) -> None:
    """Read every run record below `runs` and write one row per arm and metric.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    paths = [runs / member for member in spec.members("runs")]
    text = observations(paths, COLUMNS, lambda record, arm: (*arm.split("/"), record.seed))
    write_text(table, text)
