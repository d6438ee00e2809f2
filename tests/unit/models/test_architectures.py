"""Permutation sites of BERT, ResNet and graph networks: same function, every tensor needed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from permutation_cases import moving, one_missing
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.layout.permutation import Permutation
from seqlab.models.bert_sites import bert_sites
from seqlab.models.equivalence import Reference, check_equivalence
from seqlab.models.graph_network import (
    GraphNetwork,
    GraphNetworkConfig,
    graph_network_sites,
    normalized_adjacency,
)
from seqlab.models.permuting import Layout, Site, apply_layout, permute_state_dict
from seqlab.models.resnet_sites import resnet_sites

EXACT = 1e-10
VISIBLE = 1e-3


@dataclass
class Case:
    model: nn.Module
    sites: dict[str, Site]
    inputs: dict[str, Any]

    def logits(self, state_dict: dict[str, Tensor] | None = None) -> Tensor:
        model = copy.deepcopy(self.model)
        if state_dict is not None:
            # Tied tensors of an incomplete site come apart.
            for name, tensor in state_dict.items():
                path, _, attribute = name.rpartition(".")
                module = model.get_submodule(path)
                if attribute in module._parameters:
                    module._parameters[attribute] = nn.Parameter(tensor.clone())
                else:
                    module._buffers[attribute] = tensor.clone()
        with torch.inference_mode():
            return model(**self.inputs).logits


def scrambled(model: nn.Module, scale: float = 0.5) -> nn.Module:
    """Give every tensor values of its own, norms and running statistics included."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * scale
                if name.endswith("running_var"):
                    drawn = drawn.abs() + 0.5
                elif "norm" in name.lower() and name.endswith("weight"):
                    drawn = 1.0 + drawn
                tensor.copy_(drawn)
    return model.double().eval()


def bert(head: str) -> Case:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=41,
        hidden_size=15,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=23,
        max_position_embeddings=16,
        num_labels=4,
        attn_implementation="eager",
    )
    kind = {
        "masked_lm": transformers.BertForMaskedLM,
        "sequence_classification": transformers.BertForSequenceClassification,
    }[head]
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 41, (8, 11), generator=generator)
    mask = torch.ones_like(ids)
    mask[3, 7:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids % 2}
    return Case(scrambled(kind(config)), bert_sites(config, head), inputs)


def resnet(**changes: Any) -> Case:
    transformers = pytest.importorskip("transformers")
    settings = {
        "embedding_size": 12,
        "hidden_sizes": [20, 36],
        "depths": [2, 2],
        "num_labels": 5,
        "layer_type": "bottleneck",
    }
    config = transformers.ResNetConfig(**settings | changes)
    model = scrambled(transformers.ResNetForImageClassification(config), 0.3)
    pixels = torch.randn(8, 3, 48, 48, generator=torch.Generator().manual_seed(1)).double()
    return Case(model, resnet_sites(config), {"pixel_values": pixels})


def graph(kind: Any) -> Case:
    config = GraphNetworkConfig(kind, num_features=7, hidden_size=13, num_labels=5)
    generator = torch.Generator().manual_seed(1)
    edges = torch.randint(0, 29, (2, 90), generator=generator)
    x = torch.randn(29, 7, generator=generator).double()
    inputs = {"x": x, "adjacency": normalized_adjacency(edges, 29, kind)}
    return Case(scrambled(GraphNetwork(config)), graph_network_sites(config), inputs)


CASES: dict[str, Callable[[], Case]] = {
    "bert masked lm": lambda: bert("masked_lm"),
    "bert classifier": lambda: bert("sequence_classification"),
    "resnet bottleneck": resnet,
    "resnet basic": lambda: resnet(layer_type="basic", hidden_sizes=[20, 28]),
    "resnet joined stem": lambda: resnet(layer_type="basic", hidden_sizes=[12, 28]),
    "gcn": lambda: graph("gcn"),
    "sage": lambda: graph("sage"),
}


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def test_every_site_keeps_the_function_and_every_tensor_of_it_is_needed(case: Case) -> None:
    before, expected = case.model.state_dict(), case.logits()
    # A module is listed under every name of a tied tensor; the sites name each once.
    for site in case.sites.values():
        move = moving(site.size)
        permuted = case.logits(permute_state_dict(before, site, move))
        assert (permuted - expected).abs().max() <= EXACT, site.name
        for what, incomplete in one_missing(site):
            state = permute_state_dict(before, incomplete, move)
            if (case.logits(state) - expected).abs().max() > VISIBLE:
                continue
            # The decoder moves with the embedding it is tied to. A key bias adds the same to the
            # scores of all keys, which the softmax takes out again.
            assert "decoder.weight" in what or "key.bias" in what, f"{site.name} without {what}"


def test_all_sites_together_pass_the_gate(case: Case) -> None:
    layout = Layout(
        case.sites, {name: moving(s.size, i) for i, (name, s) in enumerate(case.sites.items())}
    )
    permuted = copy.deepcopy(case.model)
    apply_layout(permuted, layout)
    result = check_equivalence(Reference(case.model, case.inputs), permuted, layout=layout)
    assert result.passed, result.detail
    assert any(
        not torch.equal(tensor, permuted.state_dict()[name])
        for name, tensor in case.model.state_dict().items()
    )


def test_the_gate_names_a_tensor_that_was_left_out(case: Case) -> None:
    name, site = next(iter(case.sites.items()))
    layout = Layout(case.sites, {name: moving(site.size)})
    permuted = copy.deepcopy(case.model)
    apply_layout(permuted, layout)
    left_out = site.axes[-1].tensor
    path, _, attribute = left_out.rpartition(".")
    with torch.no_grad():
        target = getattr(permuted.get_submodule(path), attribute)
        target.copy_(getattr(case.model.get_submodule(path), attribute))
    result = check_equivalence(Reference(case.model, case.inputs), permuted, layout=layout)
    assert not result.passed
    assert left_out in result.detail or "embeddings" in result.detail


def test_tensors_without_a_site_are_those_nothing_reorders(case: Case) -> None:
    named = {tensor for site in case.sites.values() for tensor in site.tensors()}
    rest = set(case.model.state_dict()) - named
    allowed = ("num_batches_tracked", "classifier.bias", "classifier.1.bias", "position_ids")
    allowed += ("cls.predictions.bias", "decoder.bias", "convs.2.bias", "convs.2.lin_l.bias")
    assert all(name.endswith(allowed) for name in rest), rest


def test_a_stage_without_a_shortcut_shares_the_stem() -> None:
    sites = resnet(layer_type="basic", hidden_sizes=[12, 28]).sites
    assert "stage.0" not in sites
    assert any("stages.0.layers.1" in tensor for tensor in sites["stem"].tensors())


def test_untied_or_decoding_berts_are_refused() -> None:
    transformers = pytest.importorskip("transformers")
    with pytest.raises(UserError, match="tied"):
        bert_sites(transformers.BertConfig(tie_word_embeddings=False), "masked_lm")
    with pytest.raises(UserError, match="decoder"):
        bert_sites(transformers.BertConfig(is_decoder=True), "masked_lm")


@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_reordered_nodes_give_reordered_outputs(kind: Any) -> None:
    case = graph(kind)
    order = Permutation(moving(29).indices)
    moved = case.inputs["adjacency"].permuted(order.indices)
    with torch.inference_mode():
        expected = case.model(**case.inputs).logits
        found = case.model(x=order.apply(case.inputs["x"]), adjacency=moved).logits
    assert (found - order.apply(expected)).abs().max() <= EXACT


@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_graph_networks_equal_torch_geometric(kind: Any) -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    case = graph(kind)
    edges = torch.randint(0, 29, (2, 90), generator=torch.Generator().manual_seed(1))
    layer = {"gcn": geometric.GCNConv, "sage": geometric.SAGEConv}[kind]
    theirs = nn.ModuleList(layer(a, b) for a, b in ((7, 13), (13, 13), (13, 5))).double()
    state = {name.removeprefix("convs."): t for name, t in case.model.state_dict().items()}
    theirs.load_state_dict(state)
    x = case.inputs["x"]
    for index, conv in enumerate(theirs):
        x = conv(x, edges)
        x = torch.relu(x) if index < 2 else x
    assert (case.model(**case.inputs).logits - x).abs().max() <= 1e-6


@pytest.mark.parametrize("kind", ["gcn", "sage"])
def test_gradients_of_the_kernel_equal_those_of_torch(kind: Any) -> None:
    case = graph(kind)
    labels = torch.arange(29) % 5
    gradients = []
    for dtype in (torch.float32, torch.float64):
        model = copy.deepcopy(case.model).to(dtype)
        inputs = case.inputs | {"x": case.inputs["x"].to(dtype)}
        model(**inputs, labels=labels).loss.backward()
        gradients.append([parameter.grad.double() for parameter in model.parameters()])
    for single, double in zip(*gradients, strict=True):
        torch.testing.assert_close(single, double, rtol=1e-4, atol=1e-5)


def test_bad_graphs_are_refused() -> None:
    with pytest.raises(UserError, match="outside the 3 nodes"):
        normalized_adjacency(torch.tensor([[0], [3]]), 3, "gcn")
    with pytest.raises(UserError, match="unknown graph network"):
        GraphNetworkConfig("gat", 1, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="hidden_size is 0"):
        GraphNetworkConfig("gcn", 1, 0, 1)
