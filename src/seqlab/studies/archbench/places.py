"""Where the rows of a table of records stand."""

from __future__ import annotations

from seqlab.provenance.record import Record

COLUMNS = ("task", "architecture", "local", "condition", "seed")


def place(record: Record, arm: str) -> tuple[object, ...]:
    """Return what tells a row apart, as `COLUMNS`; solvers have no architecture."""
    cell = record.cell
    found = (cell.get(name, "") for name in COLUMNS[:3])
    return (*found, arm, record.seed)
