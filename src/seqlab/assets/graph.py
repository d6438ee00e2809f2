"""Step: a graph for node classification: generated, the user's own, or a fetch from the hub.

One of the steps that may use a network.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from seqlab.assets.graph_spec import CommunityGraphSpec, GraphSpec
from seqlab.data.community_graph import draw_community_graph
from seqlab.data.datasets_folder import licence_of
from seqlab.data.graph_baselines import BASELINES_FILE, graph_baselines
from seqlab.data.graph_folder import SPLITS, Graph, random_masks, save_graph
from seqlab.data.hub import fetch_snapshot
from seqlab.data.ogb import choose_ogb_files, ogb_files, read_ogb
from seqlab.data.sources import Origin, Source, parse_source, write_origin
from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_folder, write_json
from seqlab.provenance.hashing import sha256_path
from seqlab.spec import Out


def graph(spec: GraphSpec, *, out: Out) -> None:
    """Write `graph.npz`, `baselines.json` and `source.json` to the folder `out`.

    The baselines are the accuracies on test nodes of the largest class and of a linear model that
    sees features and no edges (`seqlab.data.graph_baselines`).

    Args:
        spec: Where the graph is from.
        out: Graph folder.

    Raises:
        UserError: The source is missing, damaged, not reachable or not such a graph.
    """
    source = parse_source(spec.source, ("generated", "path", "hub"))
    if source.kind == "generated":
        _write(*_generated(spec), out)
    elif source.kind == "path":
        folder = Path(source.name).expanduser()
        found = _read(folder, spec)
        sha256 = {name: sha256_path(folder / name) for name in ogb_files(spec.split)}
        _write(found, _origin(spec, licence_of(folder), sha256, _sizes(found)), out)
    else:
        _from_hub(source, spec, out)


def _generated(spec: GraphSpec) -> tuple[Graph, Origin]:
    shape = spec.communities or CommunityGraphSpec()
    graph_seed, split_seed = np.random.SeedSequence(spec.seed).spawn(2)
    shares = {"train_share", "validation_share"}
    drawn = draw_community_graph(
        **shape.model_dump(exclude=shares), rng=np.random.default_rng(graph_seed)
    )
    masks = random_masks(
        shape.nodes, shape.train_share, shape.validation_share, np.random.default_rng(split_seed)
    )
    found = Graph(drawn.edge_index, drawn.features, drawn.labels, masks, drawn.communities)
    detail = _sizes(found) | {
        "settings": shape.model_dump(mode="json"),
        "seed": spec.seed,
        "realised_mixing": drawn.realised_mixing,
    }
    return found, _origin(spec, None, {}, detail)


def _from_hub(source: Source, spec: GraphSpec, out: Path) -> None:
    download = out.with_name(f".{out.name}.download")
    snapshot = fetch_snapshot(
        source.name,
        "dataset",
        spec.revision,
        lambda paths: choose_ogb_files(paths, spec.folder, spec.split),
        download,
    )
    found = _read(download / spec.folder, spec)
    origin = Origin(
        source=spec.source,
        licence=licence_of(download),
        attribution=source.name,
        revision=snapshot.commit,
        sha256=snapshot.sha256,
        rehearsal=snapshot.rehearsal,
        detail={"kind": "dataset", "folder": spec.folder, "split": spec.split} | _sizes(found),
    )
    _write(found, origin, out)
    shutil.rmtree(download)


def _read(folder: Path, spec: GraphSpec) -> Graph:
    """Read the raw files, and refuse a copy that has not the sizes it should have."""
    raw = read_ogb(folder, spec.split)
    for name, wanted, found in (
        ("nodes", spec.nodes, raw.graph.nodes),
        ("edges", spec.edges, raw.listed_edges),
    ):
        if wanted not in (None, found):
            raise UserError(
                f"{found} {name}, and the settings ask for {wanted}",
                where=spec.source,
                fix="take another copy of the data set, or correct the settings",
            )
    return raw.graph


def _sizes(found: Graph) -> dict[str, Any]:
    return {
        "nodes": found.nodes,
        "edges": found.edges,
        "classes": found.classes,
        "features": found.features.shape[1],
        "splits": {name: int(found.masks[name].sum()) for name in SPLITS},
    }


def _origin(
    spec: GraphSpec, licence: str | None, sha256: dict[str, str], detail: dict[str, Any]
) -> Origin:
    return Origin(
        source=spec.source,
        licence=licence,
        attribution=None,
        revision=None,
        sha256=sha256,
        rehearsal=False,
        detail=detail,
    )


def _write(found: Graph, origin: Origin, out: Path) -> None:
    with atomic_folder(out) as folder:
        save_graph(folder, found)
        write_json(folder / BASELINES_FILE, graph_baselines(found))
        write_origin(folder, origin)
