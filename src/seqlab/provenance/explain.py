"""Say in words where a file comes from: steps, runs, weights, data, commits and machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.graph import ELSEWHERE, Graph, Node, walk
from seqlab.provenance.hashing import sha256_path
from seqlab.provenance.lineage import EXTERNAL, relative
from seqlab.provenance.manifest import provenance_of
from seqlab.provenance.resources import licence_of

_SHORT = 12


def explain(path: str | Path, root: str | Path | None = None, *, every: bool = False) -> str:
    """Walk one file back to its sources and return a readable account.

    Every run record is named by its cell and seed, every weight, data file, commit and machine in
    a line of its own; `every=True` also gives each record its path and hash.

    Raises:
        UserError: The file does not exist, or a sidecar cannot be read.
    """
    base = Path(root or Path.cwd()).resolve()
    name = relative(base, path)
    if not (base / name).exists():
        raise UserError("no such file", where=name, fix="let Snakemake make it")
    graph = walk(base, [name])
    maker = next((node for node in graph.nodes.values() if _holds(node, name)), None)
    if maker is None:
        return "\n".join(_lines_of_source(base, name, graph.sources[name]))
    reached = {maker.key, *graph.upstream(maker.key)}
    only = Graph({key: graph.nodes[key] for key in graph.nodes if key in reached})
    for node in only.nodes.values():
        for given, (digest, target) in node.inputs.items():
            if target is None:
                only.sources.setdefault(given, digest)
    return "\n".join(_account(base, name, maker, only, every=every))


def _holds(node: Node, name: str) -> bool:
    inner = node.lineage is not None and node.lineage.files is not None
    return node.key == name or (inner and name.startswith(f"{node.key}/"))


def _account(root: Path, name: str, maker: Node, graph: Graph, *, every: bool) -> Iterator[str]:
    yield name
    now = sha256_path(root / maker.key)
    state = "" if now == maker.sha256 else "  CHANGED since it was made: run `seqlab verify`"
    yield f"  sha256 {maker.sha256}{state}"
    yield f"  {_made_by(maker)}"
    records = [node for node in graph.nodes.values() if node.kind == "record"]
    weights = [node for node in graph.nodes.values() if node.is_weights()]
    named = {maker.key, *(node.key for node in (*records, *weights))}
    # Only what runs were made from is data; what was made from runs is a step on the way.
    before = {key for node in records for key in graph.upstream(node.key)}
    others = [node for node in graph.nodes.values() if node.key not in named]
    after = [node for node in others if node.key not in before and node.kind != "samples"]
    data = [node for node in others if node.key in before]
    yield from _section("Steps on the way", after, _output_line)
    yield f"\nRun records ({len(records)})" if records else "\nRun records: none"
    yield from _record_lines(records, every=every)
    yield from _section("Weights", weights, _output_line)
    yield from _section("Prepared data", data, _output_line)
    yield f"\nSources ({len(graph.sources)})"
    for source in sorted(graph.sources):
        yield from (f"  {line}" for line in _lines_of_source(root, source, graph.sources[source]))
    yield from _commits_and_machines(graph)


def _section(title: str, nodes: list[Node], line: Any) -> Iterator[str]:
    if nodes:
        yield f"\n{title} ({len(nodes)})"
        for node in sorted(nodes, key=lambda node: node.key):
            yield f"  {line(node)}"


def _output_line(node: Node) -> str:
    path, _, device = node.key.partition(ELSEWHERE)
    where = f" (on {device}, not here)" if device else ""
    return f"{path}{where}  sha256 {node.sha256[:_SHORT]}  {_made_by(node)}"


def _made_by(node: Node) -> str:
    lineage = node.lineage
    if lineage is None:
        return "raw samples of its record"
    commit = _commit(lineage.environment)
    spec = json.dumps(lineage.spec, sort_keys=True)
    return (
        f"made by `{lineage.step}` in {lineage.seconds:g} s, code {lineage.code or 'unknown'}, "
        f"commit {commit}, on {lineage.environment.get('device')}, spec {spec}"
    )


def _record_lines(records: list[Node], *, every: bool) -> Iterator[str]:
    """Name every run: one line per cell with its seeds, or one line per record."""
    if every:
        for node in sorted(records, key=lambda node: node.key):
            yield f"  {_output_line(node)}"
        return
    cells: dict[tuple[str, str], list[Node]] = {}
    for node in records:
        content = node.record or {}
        group = f"{content.get('study')}/{content.get('experiment')}"
        text = " ".join(f"{key}={value}" for key, value in (content.get("cell") or {}).items())
        cells.setdefault((group, text or "(no cell)"), []).append(node)
    for (group, cell), nodes in sorted(cells.items()):
        seeds = sorted((node.record or {}).get("seed", 0) for node in nodes)
        mark = " REHEARSAL" if any((node.record or {}).get("rehearsal") for node in nodes) else ""
        devices = ", ".join(sorted({_device(node) for node in nodes}))
        folder = _common(node.key for node in nodes)
        yield (
            f"  {group}  {cell}  seeds {' '.join(map(str, seeds))}{mark}  on {devices}  in {folder}"
        )


def _device(node: Node) -> str:
    return str(node.lineage.environment.get("device")) if node.lineage else "unknown"


def _common(paths: Iterable[str]) -> str:
    """Return the deepest folder that holds all paths."""
    parents = [PurePosixPath(path).parent.parts for path in paths]
    shared = []
    for parts in zip(*parents, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared)


def _lines_of_source(root: Path, name: str, digest: str) -> Iterator[str]:
    if name.startswith(EXTERNAL):
        yield f"{name.removeprefix(EXTERNAL)} (outside the project)  sha256 {digest[:_SHORT]}"
        return
    licence = licence_of(root, name)
    text = f"  licence {licence}" if licence else ""
    path = root / name
    state = "" if path.exists() and sha256_path(path) == digest else "  CHANGED or missing"
    yield f"{name}  sha256 {digest[:_SHORT]}{text}{state}"


def _commits_and_machines(graph: Graph) -> Iterator[str]:
    commits, machines = provenance_of(graph)
    yield f"\nCommits ({len(commits)})"
    for entry in commits:
        yield f"  {_commit(entry, full=True)}  ({entry['outputs']} outputs)"
    yield f"\nMachines ({len(machines)})"
    for entry in machines:
        machine = entry.get("machine") or {}
        gpus = ", ".join(str(gpu.get("model")) for gpu in machine.get("gpus") or [])
        parts = [machine.get("cpu_model"), f"{machine.get('cores')} cores", gpus, machine.get("os")]
        text = ", ".join(str(part) for part in parts if part)
        yield f"  {entry['device']}: {text}  ({entry['outputs']} outputs)"


def _commit(described: dict[str, Any], *, full: bool = False) -> str:
    commit = described.get("commit")
    if not commit:
        return "unknown"
    text = str(commit) if full else str(commit)[:_SHORT]
    return f"{text} with local changes" if described.get("dirty") else text
