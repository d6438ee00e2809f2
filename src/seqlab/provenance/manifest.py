"""The manifest of a scale: hash, step and inputs of everything its items were made from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.atomic import write_json
from seqlab.provenance.graph import ELSEWHERE, Graph, Node, walk
from seqlab.provenance.lineage import EXTERNAL
from seqlab.provenance.private import require_no_private
from seqlab.provenance.resources import licence_of

SCHEMA = "seqlab.manifest/1"


def manifest_path(root: str | Path, scale: str, study: str = "") -> Path:
    """Return where the manifest of a scale, or of one study at that scale, lies."""
    return Path(root) / "results" / scale / study / "manifest.json"


def build_manifest(root: str | Path, scale: str, targets: Iterable[str | Path]) -> dict[str, Any]:
    """Merge the sidecars reached by walking back from `targets`.

    Returns:
        `schema`, `scale`, `artefacts` {path: {sha256, kind, step, spec, code, inputs, commit,
        device, seconds}}, `sources` {path: {sha256, kind: source, licence}}, `code_fingerprints`
        {step: [...]}, `commits` and `machines`. `PATH@@DEVICE` is an output of another machine
        that is not here.
    """
    root = Path(root).resolve()
    graph = walk(root, targets)
    commits, machines = provenance_of(graph)
    fingerprints: dict[str, set[str]] = {}
    for node in graph.nodes.values():
        if node.lineage is not None:
            fingerprints.setdefault(node.lineage.step, set()).add(node.lineage.code)
    return {
        "schema": SCHEMA,
        "scale": scale,
        "artefacts": {key: _entry(node) for key, node in sorted(graph.nodes.items())},
        "sources": {name: _source(root, graph, name) for name in sorted(graph.sources)},
        "code_fingerprints": {step: sorted(codes) for step, codes in sorted(fingerprints.items())},
        "commits": commits,
        "machines": machines,
    }


def write_manifest(
    root: str | Path, scale: str, targets: Iterable[str | Path], path: str | Path | None = None
) -> dict[str, Any]:
    """Build the manifest of a scale, write it to `path` (its usual place if None), return it.

    Raises:
        UserError: A target is missing, a sidecar is damaged, or the disk refuses.
    """
    manifest = build_manifest(root, scale, targets)
    where = Path(root) / path if path is not None else manifest_path(root, scale)
    require_no_private(manifest, str(path or where))
    write_json(where, manifest)
    return manifest


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        UserError: It is missing, truncated or of another schema.
    """
    fix = "run Snakemake to make it again, for that of one study with the target <study>_all"
    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no manifest", where=str(path), fix=fix) from None
    except (OSError, ValueError) as error:
        raise UserError(f"unreadable: {error}", where=str(path), fix=fix) from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise UserError(f"not of schema {SCHEMA}", where=str(path), fix=fix)
    return manifest


def provenance_of(graph: Graph) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the distinct commits and machines of a graph, each with the number of outputs."""
    commits: dict[str, dict[str, Any]] = {}
    machines: dict[str, dict[str, Any]] = {}
    for node in graph.nodes.values():
        if node.lineage is None:
            continue
        described = node.lineage.environment
        commit = {"commit": described.get("commit"), "dirty": described.get("dirty")}
        machine = {"device": described.get("device"), "machine": described.get("machine")}
        for found, entry in ((commits, commit), (machines, machine)):
            kept = found.setdefault(json.dumps(entry, sort_keys=True), entry | {"outputs": 0})
            kept["outputs"] += 1
    return (
        [commits[key] for key in sorted(commits)],
        [machines[key] for key in sorted(machines)],
    )


def input_key(name: str, target: str | None) -> str:
    """Return how an input is named in a manifest: with its device if it is not here."""
    device = target.partition(ELSEWHERE)[2] if target else ""
    return f"{name}{ELSEWHERE}{device}" if device else name


def _entry(node: Node) -> dict[str, Any]:
    lineage = node.lineage
    entry: dict[str, Any] = {"kind": node.kind, "sha256": node.sha256}
    if lineage is None:
        return entry | {"inputs": {}}
    return entry | {
        "step": lineage.step,
        "spec": lineage.spec,
        "code": lineage.code,
        "inputs": {
            input_key(name, target): digest for name, (digest, target) in node.inputs.items()
        },
        "commit": lineage.environment.get("commit"),
        "dirty": lineage.environment.get("dirty"),
        "device": lineage.environment.get("device"),
        "seconds": lineage.seconds,
    }


def _source(root: Path, graph: Graph, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": "source", "sha256": graph.sources[name]}
    if name.startswith(EXTERNAL):
        return entry | {"kind": "external"}
    licence = licence_of(root, name)
    return entry if licence is None else entry | {"licence": licence}
