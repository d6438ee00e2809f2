"""Step: one tidy table of all run records of Figure 2."""

from __future__ import annotations

from seqlab.provenance.atomic import write_text
from seqlab.provenance.observations import observations
from seqlab.provenance.record import Record
from seqlab.spec import InFolder, Out
from seqlab.studies.codesign.quantization.spec import CollectSpec, Quantization

COLUMNS = ("model", "scheme", "bits", "seed", "arm")


def collect_quantization(spec: CollectSpec, *, runs: InFolder, table: Out) -> None:
    """Read every run record below `runs` and write one row per arm and metric.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    paths = [runs / member for member in spec.members("runs")]
    write_text(table, observations(paths, COLUMNS, _cell))


def _cell(record: Record, arm: str) -> tuple[object, ...]:
    quantization, name = Quantization.of_arm(arm)
    return (record.cell["model"], *quantization, record.seed, name)
