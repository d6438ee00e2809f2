"""Add the records of an archive to this folder, without losing anything that is here.

Everything is checked before anything is moved into place: member names, hashes, lineage, records.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.atomic import TEMPORARY_PREFIX, explain_os_error, write_json
from seqlab.provenance.graph import ELSEWHERE
from seqlab.provenance.hashing import sha256_file, sha256_path
from seqlab.provenance.lineage import LINEAGE, Lineage, load_sidecar, read_lineage, sidecar_path
from seqlab.provenance.lock import file_lock
from seqlab.provenance.pack import FILES, INDEX, MANIFEST, SCHEMA, SIDECARS
from seqlab.provenance.record import read_record
from seqlab.provenance.unpacked import SCHEMA as LISTING_SCHEMA
from seqlab.provenance.unpacked import listing_path, store_path, unpacked_entries

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SHOWN = 3
_REPLACED = Path("results/.replaced")


@dataclass(frozen=True)
class Unpacked:
    """What `unpack` did; `str` is the message for the user."""

    scale: str
    devices: tuple[str, ...]
    added: int
    same: int
    replaced: dict[str, str]

    def __str__(self) -> str:
        lines = [
            f"results/{self.scale}: {self.added} files added from {', '.join(self.devices)}, "
            f"{self.same} were here already"
        ]
        lines += [f"moved aside: {old} -> {new}" for old, new in sorted(self.replaced.items())]
        return "\n".join(lines)


def unpack(archive: str | Path, root: str | Path, *, replace: bool = False) -> Unpacked:
    """Add the outputs of an archive to the project at `root`, listed by device.

    Args:
        archive: Made by `pack`.
        root: Folder of the project.
        replace: Where a different file is in the way, move it to `results/.replaced/<device>/`
            and take the archive's; without it such an archive is refused as a whole.

    Raises:
        UserError: The archive is damaged, unsafe or foreign, or a different file is in the way.
    """
    root = Path(root).resolve()
    with (
        file_lock(root / "state" / "unpack.lock", what="unpacking into this folder"),
        _workspace(root) as folder,
    ):
        index = _extract(Path(archive), folder)
        _check(folder, index, str(archive))
        return _Placement(root, folder, index, str(archive)).run(replace=replace)


@contextmanager
def _workspace(root: Path) -> Iterator[Path]:
    """Yield a temporary folder on the file system of the results."""
    results = root / "results"
    try:
        results.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=results))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        message = explain_os_error(error, results)
        if message is None:
            raise
        raise message from error


def _extract(archive: Path, folder: Path) -> dict[str, Any]:
    """Extract regular files under safe names; return the index."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = _safe_name(member.name, str(archive))
                if not member.isreg():
                    raise _refused(archive, f"{member.name!r} is a link or no regular file")
                target = folder / name
                if target.exists():
                    raise _refused(archive, f"{member.name!r} occurs twice")
                if member.size > shutil.disk_usage(folder).free:
                    raise UserError(
                        "not enough space to unpack", where=str(archive), fix="free some space"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with open(target, "xb") as stream:
                    shutil.copyfileobj(source, stream)
            # Past the last member, so that the checksum of the compression is checked too.
            while tar.fileobj.read(1 << 20):
                continue
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        missing = "no such archive" if error.filename == str(archive) else "no index: not a pack"
        raise UserError(missing, where=str(archive), fix="make it with `seqlab pack`") from None
    except (tarfile.TarError, EOFError, zlib.error, ValueError, NotADirectoryError) as error:
        raise _refused(archive, f"truncated or no archive of seqlab ({error})") from None
    except OSError as error:
        if error.errno is None:
            raise _refused(archive, f"damaged ({error})") from None
        raise
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        found = index.get("schema") if isinstance(index, dict) else None
        raise _refused(archive, f"schema {found!r} is unknown, expected {SCHEMA}")
    return index


def _safe_name(name: str, archive: str) -> str:
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or not path.parts or str(path) != name
    if unsafe or any(character in name for character in ("\\", "\0", ELSEWHERE)):
        raise _refused(archive, f"unsafe name {name!r}")
    return name


def _refused(archive: str | Path, what: str) -> UserError:
    return UserError(what, where=str(archive), fix="nothing was changed; get the archive again")


def _check(folder: Path, index: dict[str, Any], archive: str) -> None:
    """Compare every hash, lineage and record in the extracted folder with the index."""
    try:
        scale, outputs, members = index["scale"], index["outputs"], index["members"]
        devices = {entry["device"] for entry in outputs.values()}
        hashes = {name: str(entry["sha256"]) for name, entry in outputs.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _refused(archive, f"incomplete index ({error})") from None
    for word in (scale, *devices):
        if not isinstance(word, str) or not _SLUG.fullmatch(word):
            raise _refused(archive, f"unsafe name {word!r} in the index")
    for name, digest in members.items():
        path = folder / _safe_name(name, archive)
        known = name == MANIFEST or name.startswith(f"{SIDECARS}/")
        if not known or not path.is_file() or sha256_file(path) != digest:
            raise _refused(archive, f"{name} is missing or damaged")
    expected = {INDEX, *members}
    for name, digest in hashes.items():
        _check_output(folder, name, digest, outputs[name], scale, archive)
        path = folder / FILES / name
        inner = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        expected.update(p.relative_to(folder).as_posix() for p in inner)
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    if found != expected:
        raise _refused(archive, f"{sorted(found ^ expected)[0]} is not in the index, or missing")


def _check_output(
    folder: Path, name: str, digest: str, entry: dict[str, Any], scale: str, archive: str
) -> None:
    parts = PurePosixPath(_safe_name(name, archive)).parts
    inside = len(parts) > 2 and parts[:2] == ("results", scale)
    if not inside or parts[2] == "devices" or any(part.startswith(".") for part in parts):
        raise _refused(archive, f"{name} does not belong below results/{scale}")
    path = folder / FILES / name
    if not path.exists() or sha256_path(path) != digest:
        raise _refused(archive, f"{name} is missing or damaged")
    lineage = _lineage(folder, name, entry["device"], archive)
    if lineage is not None and (lineage.path, lineage.sha256) != (name, digest):
        raise _refused(archive, f"{name} and its lineage disagree")
    if lineage is None and entry.get("kind") != "samples":
        raise _refused(archive, f"{name} has no lineage")
    if entry.get("kind") == "record":
        try:
            read_record(path, samples=True)
        except UserError as error:
            raise _refused(archive, f"{name}: {error.what}") from None


def _lineage(folder: Path, name: str, device: str, archive: str) -> Lineage | None:
    try:
        return load_sidecar(folder / SIDECARS / device / f"{name}.json")
    except UserError as error:
        raise _refused(archive, f"lineage of {name}: {error.what}") from None


class _Placement:
    """Moves checked files from the temporary folder into the project."""

    def __init__(self, root: Path, folder: Path, index: dict[str, Any], archive: str) -> None:
        self.root = root
        self.folder = folder
        self.archive = archive
        self.scale = str(index["scale"])
        self.outputs: dict[str, dict[str, Any]] = index["outputs"]
        # One time for all: no file of an archive is newer than another.
        self.stamp = time.time_ns()

    def run(self, *, replace: bool) -> Unpacked:
        absent, different, same = self._compare()
        if different and not replace:
            raise UserError(
                f"{len(different)} different file(s) are here: {self._shown(different)}",
                where=self.archive,
                fix="unpack with `--replace` to move them to results/.replaced, or in a new clone",
            )
        moved = {name: self._move_aside(name) for name in different}
        new = sorted(absent + different)
        self._store_lineage()
        # The listing comes before the files: entries without a file are ignored, files without
        # an entry would be taken for local ones if this process died in between.
        self._list(new)
        for name in new:
            self._place(name)
        devices = tuple(sorted({entry["device"] for entry in self.outputs.values()}))
        return Unpacked(self.scale, devices, len(new), len(same), moved)

    def _compare(self) -> tuple[list[str], list[str], list[str]]:
        absent: list[str] = []
        different: list[str] = []
        same: list[str] = []
        results = (self.root / "results").resolve()
        for name, entry in sorted(self.outputs.items()):
            path = self.root / name
            if results not in path.parent.resolve().parents:
                raise _refused(self.archive, f"{name} leaves the folder through a link")
            if not path.exists() and not path.is_symlink():
                absent.append(name)
            elif path.exists() and sha256_path(path) == entry["sha256"]:
                same.append(name)
            else:
                different.append(name)
        return absent, different, same

    def _shown(self, names: list[str]) -> str:
        shown = [f"{name} (made on {self._device_here(name)})" for name in names[:_SHOWN]]
        more = len(names) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

    def _device_here(self, name: str) -> str:
        lineage = read_lineage(name, self.root)
        return str(lineage.environment.get("device")) if lineage else "unknown"

    def _move_aside(self, name: str) -> str:
        device = self._device_here(name)
        for count in range(1, 10_000):
            folder = _REPLACED / (device if count == 1 else f"{device}-{count}")
            if not (self.root / folder / name).exists():
                break
        for old, new in (
            (self.root / name, self.root / folder / name),
            (sidecar_path(self.root, name), self.root / folder / f"lineage/{name}.json"),
        ):
            if old.exists() or old.is_symlink():
                new.parent.mkdir(parents=True, exist_ok=True)
                os.rename(old, new)
        return (folder / name).as_posix()

    def _store_lineage(self) -> None:
        """Keep manifest and upstream lineage of the other machine, by device."""
        for device in sorted({entry["device"] for entry in self.outputs.values()}):
            store = store_path(self.root, self.scale, device)
            source = self.folder / SIDECARS / device
            for sidecar in source.rglob("*.json"):
                _copy(sidecar, store / "lineage" / sidecar.relative_to(source))
            _copy(self.folder / MANIFEST, store / MANIFEST)

    def _list(self, names: list[str]) -> None:
        listed = unpacked_entries(self.root, self.scale)
        for name in names:
            entry = self.outputs[name]
            path = self.folder / FILES / name
            os.utime(path, ns=(self.stamp, self.stamp))
            stamp = path.stat()
            lineage = _lineage(self.folder, name, entry["device"], self.archive)
            listed[name] = {
                "sha256": entry["sha256"],
                "size": stamp.st_size,
                "mtime_ns": stamp.st_mtime_ns,
                "step": lineage.step if lineage else None,
                "code": lineage.code if lineage else None,
                "device": entry["device"],
            }
        write_json(
            listing_path(self.root, self.scale), {"schema": LISTING_SCHEMA, "outputs": listed}
        )

    def _place(self, name: str) -> None:
        device = self.outputs[name]["device"]
        sidecar = self.folder / SIDECARS / device / f"{name}.json"
        if sidecar.exists():
            _copy(sidecar, self.root / LINEAGE / f"{name}.json")
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self.folder / FILES / name, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{target.name}"[:200])
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)
