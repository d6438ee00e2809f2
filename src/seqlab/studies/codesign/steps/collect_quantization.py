"""Step: one tidy table of all run records of Figure 2."""

from __future__ import annotations

import csv
import io

from seqlab.provenance.atomic import write_text
from seqlab.provenance.environment import device_key
from seqlab.provenance.record import read_record
from seqlab.spec import InFolder, Out
from seqlab.studies.codesign.quantization.spec import CollectSpec, Quantization

COLUMNS = (
    "model", "scheme", "bits", "seed", "arm", "metric", "value", "unit", "provenance", "device",
)  # fmt: skip


def collect_quantization(spec: CollectSpec, *, runs: InFolder, table: Out) -> None:
    """Read every run record below `runs` and write one row per arm and metric.

    Records of a rehearsal prove that the rules work; their numbers never reach a table.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for member in spec.members("runs"):
        record = read_record(runs / member)
        if record.rehearsal:
            continue
        device = device_key(record.environment)
        for full_name, arm in record.arms.items():
            quantization, name = Quantization.of_arm(full_name)
            cell = (record.cell["model"], *quantization, record.seed, name)
            for metric, entry in arm.metrics.items():
                writer.writerow([*cell, metric, entry.value, entry.unit, entry.provenance, device])
    write_text(table, text.getvalue())
