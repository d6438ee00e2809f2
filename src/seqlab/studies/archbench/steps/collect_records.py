"""Step: one tidy table of records."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.provenance.observations import observations
from seqlab.spec import InFolder, Out
from seqlab.studies.archbench.places import COLUMNS, place
from seqlab.studies.archbench.steps_spec import CollectSpec


def collect_records(spec: CollectSpec, *, runs: InFolder, table: Out) -> None:
    """Read every record below `runs` and write one row per condition and metric.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    paths = [runs / member for member in spec.members("runs")]
    write_text(table, observations(paths, COLUMNS, place))
