"""Graph network folders: the same function after loading, in torch-geometric as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqlab.errors import UserError
from seqlab.models.graph_network import GraphNetwork, GraphNetworkConfig, normalized_adjacency
from seqlab.models.graph_pretrained import load_graph_network, save_graph_network

NODES = 29
EDGES = torch.randint(0, NODES, (2, 90), generator=torch.Generator().manual_seed(1))
X = torch.randn(NODES, 7, generator=torch.Generator().manual_seed(2))


def network(kind: Any) -> GraphNetwork:
    torch.manual_seed(3)
    return GraphNetwork(GraphNetworkConfig(kind, 7, 13, 5, num_hidden_layers=2)).eval()


@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_a_loaded_network_is_the_saved_one_and_torch_geometrics(tmp_path: Path, kind: Any) -> None:
    model = network(kind)
    for name in ("a", "b"):
        save_graph_network(model, tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    loaded = load_graph_network(tmp_path / "a", dtype=torch.float64)
    assert loaded.config == model.config and not loaded.training
    adjacency = normalized_adjacency(EDGES, NODES, kind)
    ours = loaded(X.double(), adjacency).logits
    torch.testing.assert_close(ours.float(), model(X, adjacency).logits, rtol=1e-4, atol=1e-5)
    geometric = pytest.importorskip("torch_geometric.nn")
    layer = {"gcn": geometric.GCNConv, "sage": geometric.SAGEConv}[kind]
    first, second = layer(7, 13).double(), layer(13, 5).double()
    for index, convolution in enumerate((first, second)):
        convolution.load_state_dict(loaded.convs[index].state_dict())
    theirs = second(torch.relu(first(X.double(), EDGES)), EDGES)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_gradients_through_the_sparse_sum_are_those_of_a_dense_one(kind: Any) -> None:
    model = network(kind)
    adjacency = normalized_adjacency(EDGES, NODES, kind)
    dense = torch.from_numpy(adjacency.scipy().todense()).double()
    labels = torch.arange(NODES) % 5
    model(X, adjacency, labels).loss.backward()
    parameters = {n: p.detach().double().requires_grad_() for n, p in model.named_parameters()}

    def convolve(layer: int, x: torch.Tensor) -> torch.Tensor:
        get = {n.partition(f"convs.{layer}.")[2]: p for n, p in parameters.items()}
        if kind == "gcn":
            return dense @ (x @ get["lin.weight"].T) + get["bias"]
        summed = (dense @ x) @ get["lin_l.weight"].T + get["lin_l.bias"]
        return summed + x @ get["lin_r.weight"].T

    logits = convolve(1, torch.relu(convolve(0, X.double())))
    torch.nn.functional.cross_entropy(logits, labels).backward()
    for name, parameter in model.named_parameters():
        expected = parameters[name].grad
        torch.testing.assert_close(parameter.grad.double(), expected, rtol=1e-4, atol=1e-6)


def test_a_folder_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: file is missing"):
        load_graph_network(tmp_path)
    save_graph_network(network("gcn"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for changes, message in (
        ({"kind": "gat"}, "unknown graph network 'gat'"),
        ({"hidden_size": 12}, "size mismatch"),
        ({"kind": "sage"}, "model.safetensors"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(UserError, match=message):
            load_graph_network(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"kind": "gcn"}))
    with pytest.raises(UserError, match="'num_features' is missing"):
        load_graph_network(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="file is damaged"):
        load_graph_network(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: file is missing"):
        load_graph_network(tmp_path)
