"""Where things come from: `vendored:`, `path:`, `hub:`, `init:` or `generated:` and a name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.atomic import write_json

SOURCE_FILE = "source.json"
_FORMS = {
    "vendored": "vendored:NAME",
    "path": "path:DIR",
    "hub": "hub:ID",
    "init": "init:ARCHITECTURE",
    "generated": "generated:KIND",
}


@dataclass(frozen=True)
class Source:
    """A parsed source.

    Attributes:
        kind: `vendored`, `path`, `hub`, `init` or `generated`.
        name: What follows the colon.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def parse_source(text: str, kinds: tuple[str, ...] = ("vendored", "path", "hub")) -> Source:
    """Split `KIND:NAME`, accepting only `kinds`.

    Raises:
        UserError: Unknown kind or empty name.
    """
    kind, colon, name = text.partition(":")
    if not colon or not name or kind not in kinds:
        forms = ", ".join(_FORMS[known] for known in kinds)
        raise UserError(f"source: {text!r} is not one of {forms}", fix=f"write {forms}")
    return Source(kind, name)


@dataclass(frozen=True)
class Origin:
    """Where the content of a folder is from, as written to its `source.json`.

    Attributes:
        source: As in the settings.
        licence: SPDX identifier, or what the source says of itself; None where it says nothing.
        attribution: Whom to name.
        revision: Commit of a hub repository; None for other sources.
        sha256: Of every file that was read, by name.
        rehearsal: Whether a loopback server stood in for the hub: no number of such a run counts.
        detail: Whatever else belongs to the source: splits, selection, conversion.
    """

    source: str
    licence: str | None
    attribution: str | None
    revision: str | None
    sha256: dict[str, str]
    rehearsal: bool
    detail: dict[str, Any]


def write_origin(folder: Path, origin: Origin) -> None:
    """Write `source.json` into `folder`."""
    write_json(folder / SOURCE_FILE, asdict(origin))


def read_origin(folder: Path) -> Origin:
    """Read `source.json` of `folder`.

    Raises:
        UserError: It is missing or not of this form.
    """
    path = folder / SOURCE_FILE
    try:
        return Origin(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise UserError("source.json is missing", where=str(folder), fix="make it again") from None
    except (json.JSONDecodeError, TypeError) as error:
        raise UserError(
            f"not a source.json of this version: {error}", where=str(path), fix="make it again"
        ) from None
