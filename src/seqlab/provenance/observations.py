"""Tidy rows of run records: one per arm and metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from seqlab.provenance.environment import device_key
from seqlab.provenance.record import Record, read_record

VALUE_COLUMNS = ("metric", "value", "unit", "provenance", "device", "reason")


def observations(
    paths: Iterable[Path],
    columns: Sequence[str],
    cell: Callable[[Record, str], Sequence[Any]],
) -> str:
    """Return the metrics of run records as CSV text.

    Records of a rehearsal prove that the rules work; their numbers never reach a table. A value
    that could not be had is empty, and its row has the reason.

    Args:
        paths: The records, in the order of the rows.
        columns: Names of what tells rows apart, before those of `VALUE_COLUMNS`.
        cell: (record, name of an arm) -> the values of those columns.

    Raises:
        UserError: A record is missing, damaged or of another schema.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *VALUE_COLUMNS])
    for path in paths:
        record = read_record(path)
        if record.rehearsal:
            continue
        device = device_key(record.environment)
        for name, arm in record.arms.items():
            values = cell(record, name)
            for metric, entry in arm.metrics.items():
                found = (entry.value, entry.unit, entry.provenance, device, entry.reason)
                writer.writerow([*values, metric, *found])
    return text.getvalue()
