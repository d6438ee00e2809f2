"""Checkpoints that survive being killed at any moment, and are never used for another run.

A checkpoint is a tensor file and, written after it, a small JSON file with its digest and the
identity of its run (hashes of settings, code and inputs). Only what the JSON vouches for exists.
Runs of different identity have folders of their own, so a changed setting starts afresh and a
reverted one resumes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seqlab.errors import UserError
from seqlab.provenance.atomic import TEMPORARY_PREFIX, write_bytes, write_json
from seqlab.provenance.hashing import sha256_path
from seqlab.provenance.lock import file_lock
from seqlab.spec import Spec

FORMAT = 1
_KEPT = 2
_BLOCK = 1 << 22
# Settings of `train` that change when checkpoints are written, and no number.
_NO_NUMBER = {"checkpoint_every_steps", "checkpoint_every_s"}

log = logging.getLogger("seqlab.training")


def run_identity(spec: Spec, code: str, inputs: Mapping[str, Path]) -> dict[str, str]:
    """Return the hashes of everything that a training run depends on.

    Args:
        spec: Settings of the step, with a `TrainSpec` under `train`.
        code: Fingerprint of its code.
        inputs: Files and folders that it trains from, by name.
    """
    settings = spec.model_dump(mode="json", exclude={"train": _NO_NUMBER})
    text = json.dumps(settings, sort_keys=True)
    return {
        "spec": hashlib.sha256(text.encode()).hexdigest(),
        "code": code,
        **{name: sha256_path(path) for name, path in inputs.items()},
    }


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Folder of the run, shared by all identities it has had.
        identity: Named hashes that must all be equal for a checkpoint to be used.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.folder = folder
        self.identity = dict(identity)
        text = json.dumps(self.identity, sort_keys=True)
        self._own = folder / hashlib.sha256(text.encode()).hexdigest()[:16]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock: two processes must not train into the same folder.

        Raises:
            UserError: Another live process holds it.
        """
        with file_lock(self.folder / "lock", what="this training run"):
            for leftover in self._own.glob(f"{TEMPORARY_PREFIX}*"):
                leftover.unlink()
            self._report_strangers()
            yield

    def save(self, step: int, payload: Mapping[str, Any]) -> Path:
        """Write the checkpoint of `step` and drop all but the newest two.

        Args:
            step: Updates done.
            payload: Tensors, numbers, text, lists and dicts only.

        Raises:
            UserError: The disk is full or not writable; earlier checkpoints are intact.

        Returns:
            The JSON file.
        """
        self._own.mkdir(parents=True, exist_ok=True)
        meta = self._own / f"step-{step:09d}.json"
        data = meta.with_suffix(".pt")
        # Through memory: torch's own file writer hides which error the disk reported.
        buffer = io.BytesIO()
        torch.save(dict(payload), buffer)
        content = buffer.getvalue()
        write_bytes(data, content)
        record = {
            "format": FORMAT,
            "step": step,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "identity": self.identity,
        }
        write_json(meta, record)
        self._drop_old()
        return meta

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Load the newest intact checkpoint of this identity; None if there is none.

        A damaged checkpoint is named in the log and the one before it is used.
        """
        for meta in sorted(self._own.glob("step-*.json"), reverse=True):
            try:
                return meta, load_checkpoint(meta, self.identity)
            except UserError as error:
                log.warning("%s; trying the checkpoint before it", error)
        return None

    def clear(self) -> None:
        """Remove all checkpoints of the run, once its outputs are safe."""
        for path in self.folder.glob("*/"):
            shutil.rmtree(path)

    def _drop_old(self) -> None:
        metas = sorted(self._own.glob("step-*.json"))
        for meta in metas[:-_KEPT]:
            meta.unlink()
        kept = {meta.stem for meta in metas[-_KEPT:]}
        for data in self._own.glob("step-*.pt"):
            if data.stem not in kept:
                data.unlink()

    def _report_strangers(self) -> None:
        """Say which checkpoints of other settings, code or inputs are ignored; keep the newest."""
        metas = [path for path in self.folder.glob("*/step-*.json") if path.parent != self._own]
        metas.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        if not metas:
            return
        log.warning("%s; not used", _mismatch(metas[0], self.identity))
        for path in {meta.parent for meta in metas} - {metas[0].parent}:
            shutil.rmtree(path)


def load_checkpoint(meta: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    """Load one checkpoint onto the CPU, strictly.

    Args:
        meta: Its JSON file; the tensors lie beside it with the suffix `.pt`.
        identity: The hashes it must have.

    Raises:
        UserError: It is of another identity or format, incomplete, or damaged; says which.
    """
    record = _read_meta(meta)
    if record.get("format") != FORMAT or record.get("identity") != dict(identity):
        raise UserError(_mismatch(meta, identity), fix="start afresh or restore what it belongs to")
    data = meta.with_suffix(".pt")
    try:
        found = _digest(data)
    except OSError as error:
        raise UserError(f"checkpoint cannot be read: {error}", where=str(data)) from error
    expected = (record["sha256"], record["bytes"])
    if found != expected:
        raise UserError(
            f"checkpoint is damaged: {found[1]} bytes with sha256 {found[0][:12]}, "
            f"expected {expected[1]} bytes with {expected[0][:12]}",
            where=str(data),
        )
    try:
        payload: dict[str, Any] = torch.load(data, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"checkpoint cannot be read: {error}", where=str(data)) from error
    return payload


def _read_meta(meta: Path) -> dict[str, Any]:
    try:
        record = json.loads(meta.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint cannot be read: {error}", where=str(meta)) from error
    if not isinstance(record, dict):
        raise UserError("checkpoint has no record", where=str(meta))
    return record


def _mismatch(meta: Path, identity: Mapping[str, str]) -> str:
    try:
        record = _read_meta(meta)
    except UserError as error:
        return str(error)
    found = record.get("identity") or {}
    different = [
        f"{name} expected {identity.get(name, 'none')[:16]}, found {found.get(name, 'none')[:16]}"
        for name in sorted(identity.keys() | found.keys())
        if identity.get(name) != found.get(name)
    ]
    if record.get("format") != FORMAT:
        different.append(f"format expected {FORMAT}, found {record.get('format')}")
    return f"{meta}: checkpoint of another run: {'; '.join(different)}"


def _digest(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
