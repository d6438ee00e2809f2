"""Recompute every hash of a manifest and say what no longer fits.

A changed file is found by its own hash. A file that was edited together with its own hash, in the
manifest and in its sidecar, is found by the hash its children recorded when they read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.graph import ELSEWHERE
from seqlab.provenance.hashing import sha256_path, tree_files
from seqlab.provenance.lineage import EXTERNAL, Lineage, read_lineage
from seqlab.provenance.manifest import manifest_path, read_manifest
from seqlab.provenance.resources import resource_problems


@dataclass(frozen=True)
class Problem:
    """One thing that does not fit: a path and what is wrong with it."""

    path: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


def verify(root: str | Path, scale: str = "laptop", study: str = "") -> list[Problem]:
    """Check every artefact and source of a manifest, sorted by path; empty if all is well.

    Args:
        root: Folder of the project.
        scale: Scale whose manifest is checked.
        study: The one study whose manifest is checked; empty for that of all.

    Raises:
        UserError: There is no readable manifest.
    """
    root = Path(root).resolve()
    manifest = manifest_path(root, scale, study)
    if not study and not manifest.exists():
        raise UserError(
            "no manifest of all studies",
            where=str(manifest.relative_to(root)),
            fix="run Snakemake without a target, or name the one study that was built (--study)",
        )
    return _Verification(root, manifest).run()


class _Verification:
    def __init__(self, root: Path, manifest: Path) -> None:
        self.root = root
        self.manifest_file = manifest
        self.manifest = read_manifest(manifest)
        self.hashes: dict[str, str | None] = {}

    @cached_property
    def here(self) -> dict[str, dict[str, Any]]:
        """The artefacts whose files are expected in this folder."""
        return {
            key: entry for key, entry in self.manifest["artefacts"].items() if ELSEWHERE not in key
        }

    def run(self) -> list[Problem]:
        found = [*self._artefacts(), *self._sources()]
        known = {problem.path for problem in found}
        # A plain change is reported once, not again by each of its children.
        found += [problem for problem in self._inputs() if problem.path not in known]
        found += [
            Problem(name, detail)
            for name, detail in resource_problems(self.root)
            if name not in known
        ]
        return sorted(set(found), key=lambda problem: (problem.path, problem.detail))

    def _hash(self, name: str) -> str | None:
        if name not in self.hashes:
            path = self.root / name
            self.hashes[name] = sha256_path(path) if path.exists() else None
        return self.hashes[name]

    def _artefacts(self) -> Iterator[Problem]:
        for name, entry in self.here.items():
            found = self._hash(name)
            lineage = read_lineage(name, self.root)
            if found is None:
                yield Problem(name, "is missing")
            elif found != entry["sha256"]:
                yield from self._changed(name, lineage)
            elif lineage is None:
                if entry["kind"] != "samples":
                    yield Problem(name, "has lost its lineage (its file in results/.lineage)")
            elif (lineage.sha256, lineage.code) != (entry["sha256"], entry["code"]):
                yield Problem(name, "its lineage and the manifest disagree")
            elif not _same_inputs(lineage, entry):
                yield Problem(name, "its lineage and the manifest name different inputs")

    def _changed(self, name: str, lineage: Lineage | None) -> Iterator[Problem]:
        """Name the changed files of a folder, or the changed file."""
        if lineage is None or lineage.files is None or not (self.root / name).is_dir():
            yield Problem(name, "changed since it was made")
            return
        now = tree_files(self.root / name)
        names = sorted(now.keys() | lineage.files.keys())
        differing = [inner for inner in names if now.get(inner) != lineage.files.get(inner)]
        for inner in differing:
            state = (
                "is missing"
                if inner not in now
                else "was added after the folder was made"
                if inner not in lineage.files
                else "changed since it was made"
            )
            yield Problem(f"{name}/{inner}", state)
        yield Problem(name, f"changed since it was made ({len(differing)} file(s) inside)")

    def _sources(self) -> Iterator[Problem]:
        for name, entry in self.manifest["sources"].items():
            if name.startswith(EXTERNAL):
                continue
            found = self._hash(name)
            if found is None:
                yield Problem(name, "is missing (a source)")
            elif found != entry["sha256"]:
                yield Problem(name, "changed since it was read (a source)")

    def _inputs(self) -> Iterator[Problem]:
        """Compare every input with what its readers recorded when they read it."""
        readers: dict[tuple[str, str], list[str]] = {}
        for child, entry in self.manifest["artefacts"].items():
            for name, digest in entry["inputs"].items():
                readers.setdefault((name, digest), []).append(child)
        own = read_lineage(self.manifest_file, self.root)
        if own is not None:
            if own.sha256 != self._hash(own.path):
                yield Problem(own.path, "the manifest changed since it was made")
            for name, digest in own.inputs.items():
                readers.setdefault((name, digest), []).append(own.path)
        for (name, digest), children in sorted(readers.items()):
            found = self._current(name)
            if found is not None and found != digest:
                more = f" and {len(children) - 1} more" if len(children) > 1 else ""
                yield Problem(name, f"is not what {children[0]}{more} was made from")

    def _current(self, name: str) -> str | None:
        """Return the hash of an input now; None where it cannot be told or is reported already."""
        if name.startswith(EXTERNAL):
            return None
        if ELSEWHERE in name:
            entry = self.manifest["artefacts"].get(name)
            return None if entry is None else str(entry["sha256"])
        return self._hash(name)


def _same_inputs(lineage: Lineage, entry: dict[str, Any]) -> bool:
    recorded = {name.partition(ELSEWHERE)[0]: digest for name, digest in entry["inputs"].items()}
    mine = {name.partition(ELSEWHERE)[0]: digest for name, digest in lineage.inputs.items()}
    return recorded == mine
