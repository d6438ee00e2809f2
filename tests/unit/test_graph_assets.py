"""The steps that make graphs, graph networks and image models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hub.checkpoints import OGB_FOLDER, write_ogb
from seqlab.assets import train_graph_network as module
from seqlab.assets.graph import graph
from seqlab.assets.graph_spec import (
    CommunityGraphSpec,
    GraphSpec,
    ImageModelSpec,
    ResNetShape,
    TrainGraphNetworkSpec,
)
from seqlab.assets.image_model import image_model
from seqlab.assets.spec import AssetsSpec
from seqlab.assets.train_graph_network import train_graph_network
from seqlab.data.graph_folder import load_graph
from seqlab.data.sources import read_origin
from seqlab.errors import UserError
from seqlab.models.graph_network import normalized_adjacency
from seqlab.models.graph_pretrained import load_graph_network
from seqlab.models.resnet import load_resnet, random_images
from seqlab.spec import Context, validate

COMMUNITIES = CommunityGraphSpec(
    nodes=600, edges=4000, communities=12, classes=4, features=8, noise=1.5
)
GENERATED = GraphSpec(source="generated:communities", communities=COMMUNITIES, seed=5)
TRAIN = {"steps": 24, "lr": 0.02, "evaluate_every": 6, "monitor": "accuracy"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("graphs") / "graph"
    graph(GENERATED, out=out)
    return out


def train(folder: Path, root: Path, kind: str = "gcn", **changes: Any) -> Path:
    values = {"kind": kind, "hidden_size": 16, "num_hidden_layers": 2, "dropout": 0.2}
    settings = TRAIN | {"monitor_goal": "higher"} | changes
    spec = validate(TrainGraphNetworkSpec, values | {"train": settings}, "test")
    context = Context(code="c0de", device="cpu")
    train_graph_network(spec, graph=folder, state=root / "state", out=root / "out", context=context)
    return root / "out"


def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "training.json").read_text())


def test_a_generated_graph_says_what_it_is_and_is_in_random_order(folder: Path) -> None:
    found, origin = load_graph(folder), read_origin(folder)
    assert found.communities is not None
    assert np.array_equal(found.labels, found.communities % 4)
    assert origin.detail["edges"] == found.edges <= 4000
    assert origin.detail["splits"] == {"train": 300, "validation": 120, "test": 180}
    assert origin.detail["settings"]["noise"] == 1.5 and not origin.rehearsal
    # In the order of communities nearly all neighbours in the list would share theirs.
    assert np.mean(found.communities[:-1] == found.communities[1:]) < 0.3


def test_the_seed_decides_the_graph(folder: Path, tmp_path: Path) -> None:
    graph(GENERATED, out=tmp_path / "again")
    graph(GENERATED.model_copy(update={"seed": 6}), out=tmp_path / "other")
    same, again, other = (
        (path / "graph.npz").read_bytes()
        for path in (folder, tmp_path / "again", tmp_path / "other")
    )
    assert same == again != other


@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_networks_beat_what_sees_no_edges(folder: Path, tmp_path: Path, kind: str) -> None:
    out = train(folder, tmp_path, kind)
    summary, found = report(out), load_graph(folder)
    baselines = summary["baselines"]
    assert summary["held_out"]["accuracy"] > baselines["features"] + 0.1
    assert baselines["features"] > baselines["majority"]
    network = load_graph_network(out)
    assert sum(p.numel() for p in network.parameters()) == summary["parameters"]
    adjacency = normalized_adjacency(torch.from_numpy(found.edge_index), found.nodes, kind)
    with torch.no_grad():
        logits = network(torch.from_numpy(found.features), adjacency).logits
    right = (logits.argmax(1).numpy() == found.labels)[found.masks["test"]]
    assert summary["held_out"] == {
        "accuracy": pytest.approx(right.mean()),
        "loss": pytest.approx(summary["held_out"]["loss"]),
        "nodes": 180,
    }
    curve = (out / "curve.csv").read_text().splitlines()
    assert len(curve) == 25 and curve[0].startswith("step,loss")
    assert read_origin(out).source == "generated:communities"
    assert not any(path.is_dir() for path in (tmp_path / "state").iterdir())


def test_the_weights_of_the_best_validation_are_kept(folder: Path, tmp_path: Path) -> None:
    # A rate at which accuracy goes up and down again.
    summary = report(train(folder, tmp_path, lr=0.5, clip=None, evaluate_every=1))
    accuracies = [row["accuracy"] for row in summary["evaluations"]]
    assert summary["best_step"] == 1 + accuracies.index(max(accuracies)) < 24
    assert summary["seen"]["validation"]["accuracy"] == pytest.approx(max(accuracies))


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = train(folder, tmp_path / "unbroken")
    calls = iter(range(1000))
    loss = module._Task.loss

    def breaks(*arguments: Any) -> Any:
        return 1 / 0 if next(calls) == 15 else loss(*arguments)

    settings = {"checkpoint_every_steps": 4}
    with monkeypatch.context() as patch:
        patch.setattr(module._Task, "loss", breaks)
        with pytest.raises(ZeroDivisionError):
            train(folder, tmp_path / "killed", **settings)
    assert not (tmp_path / "killed" / "out").exists()
    out = train(folder, tmp_path / "killed", **settings)
    assert report(out)["resumed_from"] == [12]
    assert (out / "curve.csv").read_text() == (unbroken / "curve.csv").read_text()
    assert report(out)["evaluations"] == report(unbroken)["evaluations"]
    ours, theirs = (load_file(path / "model.safetensors") for path in (out, unbroken))
    assert ours.keys() == theirs.keys() and ours
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_network_of_another_graph_starts_afresh(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_summary", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(folder, tmp_path)
    graph(GENERATED.model_copy(update={"seed": 6}), out=tmp_path / "other")
    assert report(train(tmp_path / "other", tmp_path))["resumed_from"] == []


def test_random_weights_are_calibrated_and_repeat(tmp_path: Path) -> None:
    shape = ResNetShape(embedding_size=16, hidden_sizes=(32, 64), depths=(1, 1), num_labels=10)
    spec = ImageModelSpec(source="init:resnet", resnet=shape, image_size=32, calibration_images=16)
    for name in ("a", "b"):
        image_model(spec, out=tmp_path / name)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
    model = load_resnet(tmp_path / "a")
    assert model.config.hidden_sizes == [32, 64] and model.config.layer_type == "bottleneck"
    with torch.no_grad():
        logits = model(random_images(8, 32, 3, seed=9)).logits
    assert logits.shape == (8, 10) and 0.05 < logits.std() < 5
    origin = read_origin(tmp_path / "a")
    assert "random" in origin.detail["weights"] and origin.licence is None


def test_a_resnet_of_the_users_own_keeps_its_weights(tmp_path: Path) -> None:
    shape = ResNetShape(embedding_size=16, hidden_sizes=(32,), depths=(1,), num_labels=4)
    image_model(
        ImageModelSpec(source="init:resnet", resnet=shape, image_size=32, calibration_images=8),
        out=tmp_path / "mine",
    )
    source = f"path:{tmp_path / 'mine'}"
    image_model(ImageModelSpec(source=source), out=tmp_path / "taken")
    ours, theirs = (load_file(tmp_path / n / "model.safetensors") for n in ("mine", "taken"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs) and theirs
    assert read_origin(tmp_path / "taken").source == source
    assert not (tmp_path / ".taken.given").exists()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text('{"model_type": "resnet"}')
    (tmp_path / "bad" / "model.safetensors").write_bytes(
        (tmp_path / "mine" / "model.safetensors").read_bytes()
    )
    with pytest.raises(UserError, match="no ResNet: "):
        image_model(ImageModelSpec(source=f"path:{tmp_path / 'bad'}"), out=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_settings_that_contradict_each_other_are_refused() -> None:
    for build, message in (
        (lambda: GraphSpec(source="path:a", communities=COMMUNITIES), "belongs to generated"),
        (lambda: GraphSpec(source="path:a", revision="0" * 40), "belongs to hub"),
        (lambda: GraphSpec(source="path:a", folder="b"), "folder belongs to hub"),
        (lambda: GraphSpec(source="generated:communities", nodes=5), "settings of `communities`"),
        (lambda: GraphSpec(source="vendored:a"), "source"),
        (lambda: CommunityGraphSpec(train_share=0.6, validation_share=0.4), "no test nodes"),
        (lambda: ImageModelSpec(source="hub:a/b", resnet=ResNetShape()), "belongs to init"),
        (lambda: ResNetShape(depths=(1, 1)), "one of each for every stage"),
        (
            lambda: TrainGraphNetworkSpec(kind="gcn", train={"tokens": 5, "lr": 0.1}),
            "a graph has no tokens",
        ),
        (
            lambda: AssetsSpec(
                corpora={},
                tokenizers={},
                models={},
                graph_networks={"n": {"graph": "g", "training": {"kind": "gcn", "train": TRAIN}}},
            ),
            "graph_networks.n.graph: no 'g'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_a_copy_of_other_sizes_is_refused(tmp_path: Path) -> None:
    write_ogb(tmp_path)
    source = f"path:{tmp_path / OGB_FOLDER}"
    graph(GraphSpec(source=source), out=tmp_path / "taken")
    origin = read_origin(tmp_path / "taken")
    assert (
        len(origin.sha256) == 6 and origin.detail["nodes"] == load_graph(tmp_path / "taken").nodes
    )
    for name in ("nodes", "edges"):
        with pytest.raises(UserError, match=f"{name}, and the settings ask for 169343"):
            graph(GraphSpec(source=source, **{name: 169343}), out=tmp_path / "no")
    assert not (tmp_path / "no").exists()
