"""The rows of a bench as a committed record: `bench/records/<device>/<name>.jsonl`.

Input: rows of a bench. Output: JSON lines; the first says what they were measured on
(`{"environment": ...}` of `seqlab.provenance.environment`), each of the others is a row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqlab.provenance.atomic import write_text
from seqlab.provenance.environment import device_key, environment, with_load_after

RECORDS = Path("bench/records")


def describe(name: str, settings: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the environment of a bench that starts now.

    Args:
        name: The bench.
        settings: Its arguments; `threads` is what the process is pinned to.
        root: Folder of the project.
    """
    spec = {"bench": name, **settings}
    return environment(spec, code="", threads=settings["threads"], root=root)


def write(name: str, rows: Sequence[dict[str, Any]], described: dict[str, Any], root: Path) -> Path:
    """Write the rows beside what `describe` said when they were begun; return the file's path.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError(f"bench {name} gave no rows")
    path = root / RECORDS / device_key(described) / f"{name}.jsonl"
    lines = [{"environment": with_load_after(described)}, *rows]
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    return path
