"""Walk back from files to everything they were made from, through the sidecars.

Every output that a step made is a node, named by its path. An output that stayed on another
machine (weights, which never travel) is the node `PATH@@DEVICE`: its lineage is known from an
archive, its file is not here. A file that no step made is a source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from seqlab.errors import UserError
from seqlab.provenance.hashing import sha256_path
from seqlab.provenance.lineage import EXTERNAL, Lineage, load_sidecar, maker_of, relative
from seqlab.provenance.unpacked import all_unpacked, store_path

Kind = Literal["artefact", "record", "samples"]
ELSEWHERE = "@@"
WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx"})


@dataclass
class Node:
    """One output and what it was made from.

    Attributes:
        key: Its path, or `PATH@@DEVICE` where the file is not here.
        sha256: As recorded when it was made.
        kind: `record`, `samples` (raw samples of a record) or `artefact`.
        lineage: Its sidecar; None for samples that have none of their own.
        inputs: Name of an input -> (recorded sha256, key of the node it belongs to or None).
        device: (scale, device) of the archive it came with; None for outputs made here.
        record: The content of a record.
    """

    key: str
    sha256: str
    kind: Kind
    lineage: Lineage | None
    inputs: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    device: tuple[str, str] | None = None
    record: dict[str, Any] | None = None

    @property
    def here(self) -> bool:
        """Whether the file is expected in this folder."""
        return ELSEWHERE not in self.key

    def is_weights(self) -> bool:
        """Whether it is a model's weights, or a folder that holds some."""
        if self.lineage is None:
            return False
        names = [self.lineage.path, *(self.lineage.files or ())]
        return any(PurePosixPath(name).suffix in WEIGHTS for name in names)


@dataclass
class Graph:
    """Nodes by key, and sources: path -> sha256 recorded by the first step that read it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def upstream(self, key: str) -> set[str]:
        """Return the keys of all nodes that `key` was made from, directly or not."""
        seen: set[str] = set()
        pending = [key]
        while pending:
            for _, target in self.nodes[pending.pop()].inputs.values():
                if target is not None and target not in seen:
                    seen.add(target)
                    pending.append(target)
        return seen

    def in_order(self) -> Iterator[Node]:
        """Yield every node after all nodes it was made from."""
        done: set[str] = set()
        for start in sorted(self.nodes):
            pending = [(start, False)]
            while pending:
                key, expanded = pending.pop()
                if key in done:
                    continue
                if expanded:
                    done.add(key)
                    yield self.nodes[key]
                    continue
                pending.append((key, True))
                targets = [target for _, target in self.nodes[key].inputs.values() if target]
                pending.extend((target, False) for target in targets if target not in done)


def walk(root: str | Path, targets: Iterable[str | Path]) -> Graph:
    """Return everything that `targets` were made from, and their siblings of the same steps.

    Raises:
        UserError: A target or a sidecar cannot be read.
    """
    return _Walk(Path(root).resolve()).run(targets)


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.graph = Graph()
        self.unpacked = all_unpacked(root)
        self.pending: list[Node] = []

    def run(self, targets: Iterable[str | Path]) -> Graph:
        for target in targets:
            name = relative(self.root, target)
            if not (self.root / name).exists():
                raise UserError("no such file", where=name, fix="let Snakemake make it")
            if self._visit(name, None) is None:
                self.graph.sources[name] = sha256_path(self.root / name)
        while self.pending:
            self._expand(self.pending.pop())
        return self.graph

    def _visit(self, name: str, device: tuple[str, str] | None) -> str | None:
        """Add the node that holds `name` and return its key; None if no step made it."""
        found = self._lookup(name, device)
        if found is None:
            return None
        key, lineage, device = found
        if key not in self.graph.nodes:
            record = self._record(key) if ELSEWHERE not in key else None
            kind: Kind = "artefact" if record is None else "record"
            node = Node(key, lineage.sha256, kind, lineage, device=device, record=record)
            self.graph.nodes[key] = node
            self.pending.append(node)
        return key

    def _lookup(
        self, name: str, device: tuple[str, str] | None
    ) -> tuple[str, Lineage, tuple[str, str] | None] | None:
        if name.startswith(EXTERNAL):
            return None
        if device is not None:
            store = store_path(self.root, *device) / "lineage"
            for candidate in (name, *map(str, PurePosixPath(name).parents)):
                lineage = load_sidecar(store / f"{candidate}.json")
                if lineage is not None:
                    entry = self.unpacked.get(lineage.path)
                    here = entry is not None and (entry["scale"], entry["device"]) == device
                    return (
                        (candidate if here else f"{candidate}{ELSEWHERE}{device[1]}"),
                        lineage,
                        device,
                    )
        local = maker_of(self.root, name)
        if local is None:
            return None
        entry = self.unpacked.get(local.path)
        origin = (entry["scale"], entry["device"]) if entry else None
        return local.path, local, origin

    def _expand(self, node: Node) -> None:
        lineage = node.lineage
        if lineage is None:
            return
        for name, digest in lineage.inputs.items():
            target = self._visit(name, node.device)
            node.inputs[name] = (digest, target)
            if target is None:
                self.graph.sources.setdefault(name, digest)
        if node.here:
            for sibling in lineage.siblings:
                self._visit(sibling, node.device)
        if node.record is not None:
            self._add_samples(node)

    def _add_samples(self, node: Node) -> None:
        folder = PurePosixPath(node.key).parent
        arms = (node.record or {}).get("arms") or {}
        for arm in arms.values():
            if not arm.get("samples_path"):
                continue
            name = (folder / arm["samples_path"]).as_posix()
            if self._visit(name, node.device) != name:
                # Inside a folder that is one output, or without a sidecar of its own.
                self.graph.nodes.setdefault(
                    name, Node(name, arm["samples_sha256"], "samples", None, device=node.device)
                )
            self.graph.nodes[name].kind = "samples"
            self.graph.nodes[name].sha256 = arm["samples_sha256"]

    def _record(self, name: str) -> dict[str, Any] | None:
        """Return the content of `name` if it is a record.

        A damaged one is no record here; `verify` reports it by its hash.
        """
        path = self.root / name
        if path.suffix != ".json" or not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return None
        known = isinstance(content, dict) and str(content.get("schema")).startswith(
            "seqlab.record/"
        )
        return content if known else None
