"""Manifest, verify and explain on a small project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqlab.errors import UserError
from seqlab.provenance.explain import explain
from seqlab.provenance.graph import walk
from seqlab.provenance.hashing import sha256_file
from seqlab.provenance.lineage import sidecar_path
from seqlab.provenance.manifest import build_manifest, read_manifest
from seqlab.provenance.verify import verify

RECORD = "results/laptop/toy/order/runs/a/seed-1/record.json"
SAMPLES = "results/laptop/toy/order/runs/a/seed-1/samples.npz"
TABLE = "results/laptop/toy/order/table.csv"


@pytest.fixture
def project(make_project: Callable[..., Any]) -> Any:
    return make_project().build()


def edit_json(path: Path, edit: Callable[[Any], Any]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def test_untouched_project_has_no_problem(project: Any) -> None:
    assert verify(project.root, "laptop") == []


def test_manifest_names_everything_once(project: Any) -> None:
    manifest = read_manifest(project.root / "results/laptop/manifest.json")
    kinds = [entry["kind"] for entry in manifest["artefacts"].values()]
    assert (kinds.count("record"), kinds.count("samples")) == (4, 4)
    assert set(manifest["sources"]) == {
        "resources/sotu/sotu.xz",
        "resources/sotu/source.yaml",
    }
    assert manifest["sources"]["resources/sotu/sotu.xz"]["licence"] == "CC0-1.0"
    assert "figures/fig2.csv" in manifest["artefacts"], "outputs of the same step belong to it"
    for name, entry in manifest["artefacts"].items():
        assert not Path(name).is_absolute()
        if (project.root / name).is_file():
            assert entry["sha256"] == sha256_file(project.root / name)
    assert manifest["code_fingerprints"]["toy run_order"] == ["c1"]
    assert [entry["commit"] for entry in manifest["commits"]] == ["f" * 40]
    assert manifest["machines"][0]["device"] == "toy-cpu-2"
    again = build_manifest(project.root, "laptop", [project.root / "figures/fig2.pdf"])
    assert again == manifest


def test_graph_is_in_topological_order(project: Any) -> None:
    graph = walk(project.root, ["figures/fig2.pdf"])
    order = [node.key for node in graph.in_order()]
    assert sorted(order) == sorted(graph.nodes)
    for node in graph.nodes.values():
        for _, target in node.inputs.values():
            assert target is None or order.index(target) < order.index(node.key)


@pytest.mark.parametrize(
    "name",
    [
        "figures/fig2.pdf",
        "figures/fig2.csv",
        TABLE,
        RECORD,
        SAMPLES,
        "results/laptop/assets/models/m/model.safetensors",
        "results/laptop/assets/corpora/sotu/train.txt",
        "resources/sotu/sotu.xz",
        "results/laptop/manifest.json",
    ],
)
def test_one_flipped_byte_is_found_and_named(project: Any, name: str) -> None:
    if name.endswith("manifest.json"):
        # A flipped digit, so that it is still JSON.
        text = project.read(name).replace('"seconds": 1.0', '"seconds": 2.0', 1)
        project.write(name, text)
    else:
        project.flip(name)
    assert name in {problem.path for problem in verify(project.root, "laptop")}


@pytest.mark.parametrize("name", ["figures/fig2.pdf", RECORD, "resources/sotu/sotu.xz"])
def test_missing_file_is_found(project: Any, name: str) -> None:
    (project.root / name).unlink()
    problems = [p for p in verify(project.root, "laptop") if p.path == name]
    assert len(problems) == 1
    assert "missing" in str(problems[0])


def test_record_edited_with_its_own_hashes_is_found_through_its_child(project: Any) -> None:
    def better(data: Any) -> None:
        data["arms"]["dense"]["metrics"]["latency"]["value"] = 0.001

    edit_json(project.root / RECORD, better)
    digest = sha256_file(project.root / RECORD)
    edit_json(sidecar_path(project.root, RECORD), lambda data: data.update(sha256=digest))
    edit_json(
        project.root / "results/laptop/manifest.json",
        lambda data: data["artefacts"][RECORD].update(sha256=digest),
    )
    problems = {p.path: p.detail for p in verify(project.root, "laptop")}
    assert problems[RECORD] == f"is not what {TABLE} was made from"


def test_figure_edited_with_its_own_hashes_is_found_through_the_manifest(project: Any) -> None:
    name = "figures/fig2.pdf"
    project.flip(name)
    digest = sha256_file(project.root / name)
    manifest = project.root / "results/laptop/manifest.json"
    edit_json(sidecar_path(project.root, name), lambda data: data.update(sha256=digest))
    edit_json(manifest, lambda data: data["artefacts"][name].update(sha256=digest))
    edit_json(
        sidecar_path(project.root, "results/laptop/manifest.json"),
        lambda data: data.update(sha256=sha256_file(manifest)),
    )
    problems = {p.path: p.detail for p in verify(project.root, "laptop")}
    assert problems[name] == "is not what results/laptop/manifest.json was made from"


def test_resource_edited_with_every_recorded_hash_is_found_by_its_own_listing(
    make_project: Callable[..., Any],
) -> None:
    project = make_project()
    project.sources()
    project.write("resources/sotu/sotu.xz", "another corpus")
    project.step("assets corpus", ["resources/sotu"], "results/laptop/assets/corpora/sotu")
    project.train()
    project.run("a", 0)
    project.collect()
    project.draw()
    project.manifest()
    problems = [str(p) for p in verify(project.root, "laptop")]
    assert problems == ["resources/sotu/sotu.xz: differs from the sha256 in source.yaml"]


def test_lost_or_rewritten_lineage_is_found(project: Any) -> None:
    sidecar_path(project.root, TABLE).unlink()
    edit_json(
        sidecar_path(project.root, "figures/fig2.pdf"),
        lambda data: data["inputs"].update({TABLE: "0" * 64}),
    )
    problems = {p.path: p.detail for p in verify(project.root, "laptop")}
    assert "lost its lineage" in problems[TABLE]
    assert "different inputs" in problems["figures/fig2.pdf"]


def test_added_and_removed_files_of_a_folder_are_named(project: Any) -> None:
    project.write("results/laptop/assets/models/m/extra.txt", "x")
    (project.root / "results/laptop/assets/models/m/config.json").unlink()
    problems = {p.path: p.detail for p in verify(project.root, "laptop")}
    assert "was added" in problems["results/laptop/assets/models/m/extra.txt"]
    assert problems["results/laptop/assets/models/m/config.json"] == "is missing"


@pytest.mark.parametrize("text", [None, "", "{", '{"schema": "other"}', "[]"])
def test_unreadable_manifest(project: Any, text: str | None) -> None:
    path = project.root / "results/laptop/manifest.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json"):
        verify(project.root, "laptop")


def test_a_study_has_a_manifest_of_its_own(project: Any) -> None:
    whole, own = (project.root / f"results/laptop/{at}manifest.json" for at in ("", "toy/"))
    whole.rename(own)
    with pytest.raises(UserError, match="--study"):
        verify(project.root, "laptop")
    assert verify(project.root, "laptop", "toy") == []
    (project.root / TABLE).write_text("changed")
    assert TABLE in {problem.path for problem in verify(project.root, "laptop", "toy")}


def test_explain_names_runs_weights_data_commit_and_machine(project: Any) -> None:
    text = explain("figures/fig2.pdf", project.root)
    assert "Run records (4)" in text
    assert "name=a  seeds 0 1" in text
    assert "name=b  seeds 0 1" in text
    assert "results/laptop/assets/models/m  sha256" in text
    assert "resources/sotu/sotu.xz  sha256" in text
    assert "licence CC0-1.0" in text
    assert "f" * 40 in text
    assert "Toy CPU" in text
    assert "`toy collect_order`" in text
    assert '"step": "paper number_figure"' in text
    assert "CHANGED" not in text
    assert str(project.root) not in text


def test_explain_every_lists_each_record(project: Any) -> None:
    text = explain(project.root / "figures/fig2.pdf", project.root, every=True)
    for cell in "ab":
        for seed in (0, 1):
            assert f"runs/{cell}/seed-{seed}/record.json  sha256" in text


def test_explain_a_source_a_folder_and_nothing(project: Any) -> None:
    assert "licence CC0-1.0" in explain("resources/sotu/sotu.xz", project.root)
    inner = explain("results/laptop/assets/models/m/config.json", project.root)
    assert "assets train_model" in inner
    with pytest.raises(UserError, match="no such file"):
        explain("figures/none.pdf", project.root)


def test_explain_says_that_a_file_changed(project: Any) -> None:
    project.flip("figures/fig2.pdf")
    project.flip("resources/sotu/sotu.xz")
    text = explain("figures/fig2.pdf", project.root)
    assert "CHANGED since it was made" in text
    assert "CHANGED or missing" in text
