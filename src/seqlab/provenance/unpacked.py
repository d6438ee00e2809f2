"""Which outputs came from another machine's archive and are sources here.

`results/<scale>/unpacked.json` lists them. Rule files ask `unpacked` when they are parsed and give
these outputs no inputs, so Snakemake neither trains nor runs anything to make them.
Imports nothing but the standard library and the bottom layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.hashing import sha256_path

SCHEMA = "seqlab.unpacked/1"


def listing_path(root: str | Path, scale: str) -> Path:
    """Return where the listing of a scale lies."""
    return Path(root) / "results" / scale / "unpacked.json"


def store_path(root: str | Path, scale: str, device: str) -> Path:
    """Return the folder that keeps the manifest and the upstream lineage of another device."""
    return Path(root) / "results" / scale / "devices" / device


def unpacked(root: str | Path, scale: str) -> set[str]:
    """Return the paths of all outputs that came from an archive and are still what they were.

    An output that was deleted or made anew here since is no longer among them, so its rule is an
    ordinary rule again. Costs one file read and one `stat` per output.

    Raises:
        UserError: The listing cannot be read.
    """
    return set(unpacked_entries(root, scale))


def unpacked_entries(root: str | Path, scale: str) -> dict[str, dict[str, Any]]:
    """Return path -> `{sha256, size, mtime_ns, step, code, device}` of `unpacked`'s outputs.

    Raises:
        UserError: The listing cannot be read.
    """
    listed = _listing(root, scale)
    return {name: entry for name, entry in listed.items() if _unchanged(Path(root) / name, entry)}


def is_unpacked(root: str | Path, scale: str, output: str) -> bool:
    """Return whether `unpacked` names this output, at the cost of one output's `stat`.

    Raises:
        UserError: The listing cannot be read.
    """
    entry = _listing(root, scale).get(output)
    return entry is not None and _unchanged(Path(root) / output, entry)


def all_unpacked(root: str | Path) -> dict[str, dict[str, Any]]:
    """Return `unpacked_entries` of every scale, with the key `scale` added."""
    found: dict[str, dict[str, Any]] = {}
    for listing in sorted(Path(root).glob("results/*/unpacked.json")):
        scale = listing.parent.name
        for name, entry in unpacked_entries(root, scale).items():
            found[name] = entry | {"scale": scale}
    return found


def changed_code(root: str | Path, scale: str, codes: Mapping[str, str]) -> dict[str, int]:
    """Count the unpacked outputs of each step that were made by other code than today's.

    Snakemake does not rerun them, so the workflow has to say that they are older than the code.

    Args:
        root: Folder of the project.
        scale: Scale of the results.
        codes: Name of a step, e.g. `codesign run_quantization` -> its fingerprint now.
    """
    counts: dict[str, int] = {}
    for entry in unpacked_entries(root, scale).values():
        now = codes.get(entry["step"])
        if now is not None and now != entry["code"]:
            counts[entry["step"]] = counts.get(entry["step"], 0) + 1
    return dict(sorted(counts.items()))


def _listing(root: str | Path, scale: str) -> dict[str, dict[str, Any]]:
    listing = listing_path(root, scale)
    try:
        stamp = listing.stat()
    except FileNotFoundError:
        return {}
    return _listed(listing, stamp.st_mtime_ns, stamp.st_size)


@cache
def _listed(listing: Path, mtime_ns: int, size: int) -> dict[str, dict[str, Any]]:
    fix = "delete it and unpack the archive again"
    try:
        data = json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"unreadable: {error}", where=str(listing), fix=fix) from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UserError(f"not of schema {SCHEMA}", where=str(listing), fix=fix)
    outputs: dict[str, dict[str, Any]] = data["outputs"]
    return outputs


def _unchanged(path: Path, entry: Mapping[str, Any]) -> bool:
    try:
        stamp = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if (stamp.st_size, stamp.st_mtime_ns) == (entry["size"], entry["mtime_ns"]):
        return True
    # Copied without its times, or made anew: only the content can tell.
    digest: str = sha256_path(path)
    return digest == entry["sha256"]
