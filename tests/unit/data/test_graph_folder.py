"""Graph folders, OGB's raw files, splits and the baselines that see no edges."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqlab.data.graph_baselines import graph_baselines
from seqlab.data.graph_folder import GRAPH_FILE, SPLITS, Graph, load_graph, random_masks, save_graph
from seqlab.data.ogb import choose_ogb_files, ogb_files, read_ogb
from seqlab.errors import UserError


def small(nodes: int = 40, seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, nodes, (2, 60))
    edges = np.concatenate([ends, ends[::-1]], axis=1)
    features = rng.standard_normal((nodes, 5)).astype(np.float32)
    labels = np.arange(nodes) % 3
    return Graph(edges, features, labels, random_masks(nodes, 0.5, 0.25, rng), labels * 2)


def test_a_saved_graph_is_read_back_and_gives_the_same_bytes(tmp_path: Path) -> None:
    graph = small()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_graph(tmp_path / name, graph)
    assert (tmp_path / "a" / GRAPH_FILE).read_bytes() == (tmp_path / "b" / GRAPH_FILE).read_bytes()
    found = load_graph(tmp_path / "a")
    assert found.edge_index.dtype == np.int64 and found.features.dtype == np.float32
    for name in ("edge_index", "features", "labels", "communities"):
        assert np.array_equal(getattr(found, name), getattr(graph, name)), name
    for name in SPLITS:
        assert np.array_equal(found.masks[name], graph.masks[name]), name
    assert (found.nodes, found.edges, found.classes) == (40, 60, 3)
    save_graph(tmp_path / "b", replace(graph, communities=None))
    assert load_graph(tmp_path / "b").communities is None


def test_splits_have_their_shares_and_share_no_node() -> None:
    masks = random_masks(1000, 0.5, 0.2, np.random.default_rng(3))
    assert [int(masks[name].sum()) for name in SPLITS] == [500, 200, 300]
    assert np.array_equal(np.sum(list(masks.values()), axis=0), np.ones(1000))
    other = random_masks(1000, 0.5, 0.2, np.random.default_rng(4))
    assert not np.array_equal(masks["train"], other["train"])
    # Drawn, not cut: the training nodes are spread over the order of the nodes.
    assert 400 < np.flatnonzero(masks["train"]).mean() < 600


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_index": np.array([[0], [40]])}, "outside its 40 nodes"),
        ({"edge_index": np.zeros(4, int)}, "not \\(2, E\\)"),
        ({"features": np.zeros((39, 5), np.float32)}, "there are 40 labels"),
        ({"labels": np.arange(40) - 1}, "label is negative"),
        ({"masks": {"train": np.ones(40, bool)}}, "its splits are train"),
        ({"masks": {name: np.ones(40, bool) for name in SPLITS}}, "in two splits"),
        (
            {"masks": {n: np.arange(40) < 10 * (n != "test") for n in SPLITS}},
            "split test is empty",
        ),
    ],
)
def test_what_is_no_graph_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(small(), **changes)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"graph\.npz: file is missing"):
        load_graph(tmp_path)
    save_graph(tmp_path, small())
    whole = (tmp_path / GRAPH_FILE).read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (tmp_path / GRAPH_FILE).write_bytes(content)
        with pytest.raises(UserError, match="file is corrupt"):
            load_graph(tmp_path)
    np.savez(tmp_path / GRAPH_FILE, labels=np.zeros(3))
    with pytest.raises(UserError, match="array edge_index is missing"):
        load_graph(tmp_path)


def write_raw(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))


# A loop, a repeat, and a pair of citations both ways.
RAW = {
    "raw/edge.csv.gz": "0,1\n2,1\n2,1\n1,0\n3,3\n4,2\n",
    "raw/node-feat.csv.gz": "".join(f"{n}.5,-{n}e-1\n" for n in range(5)),
    "raw/node-label.csv.gz": "2\n0\n1\n1\n0\n",
    "split/time/train.csv.gz": "4\n0\n",
    "split/time/valid.csv.gz": "1\n",
    "split/time/test.csv.gz": "2\n3\n",
}


def test_ogb_files_become_an_undirected_graph(tmp_path: Path) -> None:
    write_raw(tmp_path, RAW)
    found = read_ogb(tmp_path, "time")
    assert found.listed_edges == 6
    pairs = {(0, 1), (1, 2), (2, 4)}
    both = pairs | {(b, a) for a, b in pairs}
    listed = list(zip(*found.graph.edge_index.tolist(), strict=True))
    assert len(listed) == len(both) and set(listed) == both
    assert found.graph.features.tolist() == pytest.approx(
        np.array([[n + 0.5, -n / 10] for n in range(5)])
    )
    assert found.graph.labels.tolist() == [2, 0, 1, 1, 0]
    assert {name: found.graph.split(name).tolist() for name in SPLITS} == {
        "train": [0, 4],
        "validation": [1],
        "test": [2, 3],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw/edge.csv.gz": "0,5\n"}, r"edge\.csv\.gz.*outside the 5"),
        ({"split/time/valid.csv.gz": "-1\n"}, r"valid\.csv\.gz.*outside the 5"),
        ({"raw/node-label.csv.gz": "2\n0\nx\n1\n0\n"}, r"node-label\.csv\.gz.*damaged"),
        ({"raw/node-label.csv.gz": "2,1\n" * 5}, "2 labels for each node"),
        ({"raw/node-feat.csv.gz": "1.0\n"}, "there are 5 labels"),
    ],
)
def test_damaged_ogb_files_are_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    write_raw(tmp_path, RAW | changes)
    with pytest.raises(UserError, match=message):
        read_ogb(tmp_path, "time")


def test_missing_ogb_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder.*unpack OGB's own archive"):
        read_ogb(tmp_path / "absent", "time")
    write_raw(tmp_path, {k: v for k, v in RAW.items() if "edge" not in k})
    with pytest.raises(UserError, match=r"edge\.csv\.gz: file is missing.*unpack"):
        read_ogb(tmp_path, "time")
    (tmp_path / "raw/edge.csv.gz").write_bytes(gzip.compress(b"0,1\n" * 500)[:20])
    with pytest.raises(UserError, match="file is damaged"):
        read_ogb(tmp_path, "time")


def test_only_the_raw_files_of_one_folder_are_fetched() -> None:
    wanted = [f"a/b/{name}" for name in ogb_files("time")]
    paths = ["README.md", "code.py", "a/b/processed/data.pt", "raw/edge.csv.gz", *wanted]
    assert choose_ogb_files(paths, "a/b", "time") == ["README.md", *wanted]
    assert choose_ogb_files(ogb_files("x"), "", "x") == ogb_files("x")
    with pytest.raises(UserError, match=r"no raw/node-feat\.csv\.gz.*path:DIR"):
        choose_ogb_files(paths, "", "time")


def test_baselines_see_features_and_no_edges() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 900, p=[0.5, 0.3, 0.2])
    masks = random_masks(900, 0.5, 0.2, rng)
    blind = rng.standard_normal((900, 4)).astype(np.float32)
    seeing = np.eye(3, dtype=np.float32)[labels] * 1e3
    edges = np.zeros((2, 0), np.int64)
    for features, accuracy in ((seeing, 1.0), (blind, None)):
        found = graph_baselines(Graph(edges, features, labels, masks))
        assert found["majority"] == np.mean(labels[masks["test"]] == 0)
        assert found["features"] == pytest.approx(accuracy or found["majority"], abs=0.08)
    with pytest.raises(UserError, match="one class"):
        graph_baselines(Graph(edges, blind, np.zeros(900, int), masks))
