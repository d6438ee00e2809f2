"""What `resources/<name>/source.yaml` says of the vendored files: licence and sha256."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.hashing import sha256_file


def licence_of(root: Path, name: str) -> str | None:
    """Return the licence of a file below `resources/`, None for any other file."""
    parts = Path(name).parts
    if len(parts) < 3 or parts[0] != "resources":
        return None
    description = root / parts[0] / parts[1] / "source.yaml"
    if not description.is_file():
        return None
    licence = _described(description).get("licence")
    return None if licence is None else str(licence)


def resource_problems(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, what is wrong) for vendored files that differ from their own listing."""
    for description in sorted((root / "resources").glob("*/source.yaml")):
        listed = _described(description)
        name = (description.parent / str(listed.get("file"))).relative_to(root).as_posix()
        if not (root / name).is_file():
            yield name, "is missing"
        elif sha256_file(root / name) != listed.get("sha256"):
            yield name, f"differs from the sha256 in {description.name}"


def _described(description: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(description.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"unreadable: {error}", where=str(description), fix="restore it with git"
        ) from None
    return content if isinstance(content, dict) else {}
