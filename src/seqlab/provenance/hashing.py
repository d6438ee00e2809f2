"""sha256 of files and of folders, the same on every machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from seqlab.provenance.atomic import TEMPORARY_PREFIX

# Snakemake stamps folders it made with this file; it is no part of their content.
_IGNORED = frozenset({".snakemake_timestamp"})


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_files(folder: str | Path) -> dict[str, str]:
    """Return relative path -> sha256 of every file below a folder, in order of path."""
    folder = Path(folder)
    found: dict[str, str] = {}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            if name in _IGNORED or name.startswith(TEMPORARY_PREFIX):
                continue
            path = Path(place) / name
            found[path.relative_to(folder).as_posix()] = sha256_file(path)
    return dict(sorted(found.items()))


def sha256_tree(files: Mapping[str, str]) -> str:
    """Return the hash of a folder from the paths and hashes of its files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return sha256_bytes(lines.encode())


def sha256_path(path: str | Path) -> str:
    """Return the hash of a file, or of a folder as a tree."""
    path = Path(path)
    return sha256_tree(tree_files(path)) if path.is_dir() else sha256_file(path)
