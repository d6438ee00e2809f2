"""Put the records of a scale into one archive that draws every figure on another machine.

Taken: records, their raw samples, the lineage of everything they were made from, a manifest, and
those small outputs a figure needs that cannot be made from records (a curve of a training, a
permutation). Never taken: weights and checkpoints.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_path, json_text
from seqlab.provenance.graph import Graph, Node, walk
from seqlab.provenance.hashing import sha256_bytes, sha256_path
from seqlab.provenance.lineage import EXTERNAL, LINEAGE
from seqlab.provenance.manifest import build_manifest
from seqlab.provenance.private import require_no_private
from seqlab.provenance.record import read_record

SCHEMA = "seqlab.pack/1"
INDEX, MANIFEST, FILES, SIDECARS = "index.json", "manifest.json", "files", "lineage"
LARGE_BYTES = 64 << 20


@dataclass
class Selection:
    """What goes into an archive.

    Attributes:
        nodes: Records, raw samples and small outputs, by path.
        left: Path of an output -> why it can neither be packed nor be made from what is packed.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Packed:
    """What `pack` put into an archive; `str` is the message for the user."""

    archive: Path
    records: int
    others: int
    size_bytes: int
    left: dict[str, str]

    def __str__(self) -> str:
        lines = [
            f"{self.archive}: {self.records} records and {self.others} other files, "
            f"{self.size_bytes / 1e6:.1f} MB"
        ]
        lines += [f"not packed: {path}: {why}" for path, why in sorted(self.left.items())]
        return "\n".join(lines)


def pack(root: str | Path, scale: str, archive: str | Path) -> Packed:
    """Write the archive of a scale; finished studies are taken even if others failed.

    Raises:
        UserError: There is no record, a file changed since it was made, or the disk refuses.
    """
    root = Path(root).resolve()
    leaves = outputs_of(root, scale)
    graph = walk(root, leaves)
    chosen = select(root, graph)
    records = [node for node in chosen.nodes.values() if node.kind == "record"]
    if not records:
        raise UserError(
            "there is no record to pack", where=f"results/{scale}", fix="run the workflow first"
        )
    _check(root, chosen)
    members = _members(root, scale, graph, chosen, leaves)
    archive = Path(archive)
    with atomic_path(archive) as temporary:
        _write(temporary, root, members)
    return Packed(
        archive=archive,
        records=len(records),
        others=len(chosen.nodes) - len(records),
        size_bytes=archive.stat().st_size,
        left=chosen.left,
    )


def outputs_of(root: Path, scale: str) -> list[str]:
    """Return the outputs of a scale that have a sidecar and exist, figures included."""
    base = root / LINEAGE
    sidecars = list((base / "results" / scale).rglob("*.json"))
    if scale == "laptop":
        sidecars += [*(base / "figures").glob("*.json")]
        sidecars += [*(base / "results" / "tables").rglob("*.json")]
    else:
        sidecars += [*(base / "figures" / scale).rglob("*.json")]
    names = sorted(path.relative_to(base).as_posix().removesuffix(".json") for path in sidecars)
    # What is made of the others: the manifests of the scale and of its studies, and its settings.
    own = ("manifest.json", "run_config.json")
    return [name for name in names if Path(name).name not in own and (root / name).exists()]


def select(root: Path, graph: Graph) -> Selection:
    """Choose records, samples, and what cheap steps need besides them.

    Cheap steps come after a record, or make a figure or a table: they run again on the other
    machine. One that reads what cannot travel (weights) has its output packed instead.
    """
    chosen = Selection()
    read = {target for node in graph.nodes.values() for _, target in node.inputs.values()}
    travels: set[str] = set()
    cheap: set[str] = set()
    for node in graph.in_order():
        if node.kind in ("record", "samples"):
            travels.add(node.key)
            chosen.nodes[node.key] = node
            continue
        targets = [target for _, target in node.inputs.values() if target is not None]
        if any(target in cheap or target in travels for target in targets):
            cheap.add(node.key)
        elif node.key in read or not _is_item(node.key):
            continue
        needed = [graph.nodes[key] for key in targets if key not in travels]
        obstacle = next((key.key for key in needed if _obstacle(root, key)), None)
        outside = next((n for n, (_, t) in node.inputs.items() if t is None and _outside(n)), None)
        if obstacle is None and outside is None:
            for other in needed:
                if other.key not in cheap:
                    chosen.nodes[other.key] = other
            travels.add(node.key)
        elif _obstacle(root, node) is None:
            chosen.nodes[node.key] = node
            travels.add(node.key)
        else:
            chosen.left[node.key] = f"needs {obstacle or outside}, which does not travel"
    return chosen


def _obstacle(root: Path, node: Node) -> str | None:
    """Return why an output cannot be packed, None if it can."""
    if not node.here:
        return "it is on another machine"
    if node.is_weights():
        return "it is weights"
    path = root / node.key
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"it is larger than {LARGE_BYTES >> 20} MiB" if size > LARGE_BYTES else None


def _is_item(name: str) -> bool:
    """Tell figures and tables by their folder."""
    return bool({"figures", "tables"} & set(PurePosixPath(name).parent.parts))


def _outside(source: str) -> bool:
    """Tell sources that a clone of the project does not have."""
    return source.startswith((EXTERNAL, "results/", "state/", "logs/"))


def _check(root: Path, chosen: Selection) -> None:
    """Refuse to pack what is no longer what its lineage says."""
    for name, node in sorted(chosen.nodes.items()):
        if not (root / name).exists() or sha256_path(root / name) != node.sha256:
            raise UserError(
                "changed since it was made",
                where=name,
                fix="run `python -m seqlab verify`, delete what it names, and run Snakemake",
            )
        if node.kind == "record":
            read_record(root / name, samples=True)


def _members(
    root: Path, scale: str, graph: Graph, chosen: Selection, leaves: Iterable[str]
) -> dict[str, bytes | Path]:
    """Return member name -> bytes or file, the index first."""
    entries: dict[str, Any] = {}
    sidecars: dict[str, bytes] = {}
    files: dict[str, bytes | Path] = {}
    devices: set[str] = set()
    for name, node in sorted(chosen.nodes.items()):
        device = _device(graph, node)
        devices.add(device)
        entries[name] = {"sha256": node.sha256, "kind": node.kind, "device": device}
        if node.lineage is not None and node.lineage.files is not None:
            for inner in node.lineage.files:
                files[f"{FILES}/{name}/{inner}"] = root / name / inner
        else:
            files[f"{FILES}/{name}"] = root / name
        for key in (name, *graph.upstream(name)):
            lineage = graph.nodes[key].lineage
            if lineage is not None:
                require_no_private(lineage.to_json(), key)
                text = json_text(lineage.to_json()).encode()
                sidecars[f"{SIDECARS}/{device}/{lineage.path}.json"] = text
    manifest = build_manifest(root, scale, leaves)
    require_no_private(manifest, f"manifest of {scale}")
    extra = {**sidecars, MANIFEST: json_text(manifest).encode()}
    index = {
        "schema": SCHEMA,
        "scale": scale,
        "devices": sorted(devices),
        "outputs": entries,
        "members": {name: sha256_bytes(data) for name, data in sorted(extra.items())},
    }
    ordered: dict[str, bytes | Path] = {INDEX: json_text(index).encode()}
    return ordered | dict(sorted(extra.items())) | dict(sorted(files.items()))


def _device(graph: Graph, node: Node) -> str:
    """Return the device an output was made on; samples share their record's step."""
    if node.device is not None:
        return node.device[1]
    if node.lineage is not None:
        return str(node.lineage.environment["device"])
    beside = (
        other.lineage
        for other in graph.nodes.values()
        if other.kind == "record" and other.lineage and other.key.rpartition("/")[0] in node.key
    )
    found = next(beside, None)
    return str(found.environment["device"]) if found else "unknown"


def _write(archive: Path, root: Path, members: dict[str, bytes | Path]) -> None:
    """Write a tar.gz whose bytes depend on names and contents alone."""
    with (
        open(archive, "wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(data))
