"""What a run left: items done and missing, steps that failed and why, claims that were not run."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from seqlab.provenance.atomic import write_json
from seqlab.provenance.unpacked import changed_code, unpacked_entries
from seqlab.workflow import SCALES, code

FAILURES = Path("state/failures")


def note_failure(step: str, outputs: list[Path], message: str, log: str | None) -> None:
    """Leave a note of a failed step where `status` finds it."""
    write_json(
        _note(outputs),
        {
            "step": step,
            "outputs": [path.as_posix() for path in outputs],
            "message": message,
            "log": log,
        },
    )


def clear_failure(outputs: list[Path]) -> None:
    """Remove the note of a step that has now succeeded."""
    _note(outputs).unlink(missing_ok=True)


def status(root: Path, scale: str) -> str:
    """Return a summary of one scale: done, failed with its log, not run with its reason."""
    at = "" if scale == "laptop" else f"{scale}/"
    lines = [f"scale {scale}"]
    for folder, suffix in ((f"figures/{at}", ".pdf"), (f"results/{at}tables/", ".csv")):
        done = sorted(path.stem for path in (root / folder).glob(f"*{suffix}"))
        lines.append(f"  {folder}: {', '.join(done) if done else 'nothing yet'}")
    for note in _failures(root, scale):
        lines.append(f"  failed: {note['step']}: {note['message']}")
        if note["log"]:
            lines.append(f"    log: {note['log']}")
    for step, count in _made_by_older_code(root, scale).items():
        lines.append(f"  unpacked, made by other code than today's: {count} output(s) of {step}")
    for claims in sorted((root / f"results/{scale}").glob("*/claims.csv")):
        with claims.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        counts = Counter(row["verdict"] for row in rows)
        lines.append(
            f"  claims of {claims.parent.name}: "
            + ", ".join(f"{n} {v}" for v, n in sorted(counts.items()))
        )
        reasons = Counter(row["reason"] for row in rows if row["verdict"] == "not_run")
        lines += [f"    not_run ({count}): {reason}" for reason, count in sorted(reasons.items())]
    return "\n".join(lines)


def _failures(root: Path, scale: str) -> list[dict[str, Any]]:
    """Return the notes of failed steps of one scale, and of those that belong to none."""
    notes = [
        json.loads(path.read_text("utf-8")) for path in sorted((root / FAILURES).glob("*.json"))
    ]
    others = {*SCALES} - {scale}
    return [
        note for note in notes if not any(_scale_of(path) in others for path in note["outputs"])
    ]


def _scale_of(output: str) -> str | None:
    """Return the scale of a file target; files of the laptop scale may stand without its name."""
    top, *folders = Path(output).parent.parts
    if top not in ("results", "figures"):
        return None
    return folders[0] if folders and folders[0] in SCALES else "laptop"


def _made_by_older_code(root: Path, scale: str) -> dict[str, int]:
    steps = {entry["step"] for entry in unpacked_entries(root, scale).values()}
    return changed_code(root, scale, {step: code(*step.split()) for step in steps})


def _note(outputs: list[Path]) -> Path:
    key = "\n".join(sorted(path.as_posix() for path in outputs))
    return FAILURES / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
