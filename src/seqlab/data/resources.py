"""Vendored corpora and tokenizers: the files under `resources/`, checked before they are used."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seqlab.errors import UserError

# src/seqlab/data/resources.py -> the root of the working copy, which holds resources/.
RESOURCES = Path(__file__).resolve().parents[3] / "resources"
_FIELDS = ("name", "file", "sha256", "licence", "package", "attribution")


@dataclass(frozen=True)
class Resource:
    """One vendored file and where it is from.

    Attributes:
        name: Name after `vendored:`.
        path: The xz-compressed file.
        sha256: Of the compressed file, as recorded in `source.yaml`.
        licence: SPDX identifier.
        package: Name and version of the package the data were taken from.
        attribution: Whom to name when the data are used.
    """

    name: str
    path: Path
    sha256: str
    licence: str
    package: str
    attribution: str

    def read(self) -> bytes:
        """Return the decompressed content, after checking the sha256 of the file.

        Raises:
            UserError: The file is missing, or its sha256 is not the recorded one.
        """
        shown = _shown(self.path)
        fix = f"git checkout -- {shown}"
        try:
            packed = self.path.read_bytes()
        except FileNotFoundError:
            raise UserError("vendored file is missing", where=shown, fix=fix) from None
        found = hashlib.sha256(packed).hexdigest()
        if found != self.sha256:
            raise UserError(
                f"vendored file is corrupted: expected sha256 {self.sha256}, found {found}",
                where=shown,
                fix=fix,
            )
        return lzma.decompress(packed)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of a JSON Lines resource, in file order."""
        for line in self.read().splitlines():
            yield json.loads(line)


def resource_names(root: Path = RESOURCES) -> tuple[str, ...]:
    """Return the names of all vendored resources."""
    return tuple(sorted(path.parent.name for path in root.glob("*/source.yaml")))


def load_resource(name: str, root: Path = RESOURCES) -> Resource:
    """Return the vendored resource `name`; its content is checked when it is read.

    Raises:
        UserError: There is no such resource, or its `source.yaml` is incomplete.
    """
    description = root / name / "source.yaml"
    if not name.isidentifier() or not description.is_file():
        raise UserError(
            f"no vendored resource {name!r}",
            where=_shown(root),
            fix=f"use one of {', '.join(resource_names(root)) or 'none'}",
        )
    fields = yaml.safe_load(description.read_text("utf-8"))
    missing = [key for key in _FIELDS if not isinstance(fields, dict) or not fields.get(key)]
    if missing:
        raise UserError(
            f"{missing[0]}: missing",
            where=_shown(description),
            fix=f"git checkout -- {_shown(description)}",
        )
    return Resource(
        name=name,
        path=root / name / fields["file"],
        **{key: str(fields[key]) for key in ("sha256", "licence", "package", "attribution")},
    )


def _shown(path: Path) -> str:
    """Return `path` relative to the working copy, as a user would type it."""
    root = RESOURCES.parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
