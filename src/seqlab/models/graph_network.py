"""Graph convolutional networks with the algebra and tensor names of torch-geometric.

GCN (Kipf and Welling 2017): X' = D^-1/2 (A + I) D^-1/2 X W^T + b. GraphSAGE with the mean (Hamilton
et al. 2017): x'_v = W_l mean_{u in N(v)} x_u + b + W_r x_v. ReLU and dropout between layers. The
neighbours are summed by `seqlab.kernels.aggregate`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.errors import UserError
from seqlab.kernels.aggregate import Adjacency, aggregate
from seqlab.models.permuting import Site, TensorAxis

Kind = Literal["gcn", "sage"]
KINDS: tuple[Kind, ...] = ("gcn", "sage")


@dataclass(frozen=True)
class GraphNetworkConfig:
    """Shape of a graph network.

    Attributes:
        kind: "gcn" or "sage".
        num_features: Width of the node features.
        hidden_size: Width between layers.
        num_labels: Number of classes.
        num_hidden_layers: Number of convolutions.
        dropout: Share of features dropped between layers in training.

    Raises:
        UserError: The kind is unknown, or a size is below one.
    """

    kind: Kind
    num_features: int
    hidden_size: int
    num_labels: int
    num_hidden_layers: int = 3
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"unknown graph network {self.kind!r}", fix=f"one of {list(KINDS)}")
        for name in ("num_features", "hidden_size", "num_labels", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", fix="give at least 1")

    def widths(self) -> list[int]:
        """Return the width before the first layer and after each one."""
        inner = [self.hidden_size] * (self.num_hidden_layers - 1)
        return [self.num_features, *inner, self.num_labels]


@dataclass
class NodeOutput:
    """What a graph network returns.

    Attributes:
        logits: Scores (N, classes).
        loss: Mean cross-entropy in nats over the labelled nodes, or None without labels.
    """

    logits: Tensor
    loss: Tensor | None


class GcnConv(nn.Module):
    """One GCN layer; the adjacency is the normalised one."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.lin = nn.Linear(width_in, width_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """Map (N, width_in) to (N, width_out)."""
        return aggregate(adjacency, self.lin(x)) + self.bias


class SageConv(nn.Module):
    """One GraphSAGE layer; the adjacency holds the mean's weights."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.lin_l = nn.Linear(width_in, width_out)
        self.lin_r = nn.Linear(width_in, width_out, bias=False)

    def forward(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """Map (N, width_in) to (N, width_out)."""
        # Projected first: the sum then runs over the narrower of the two where layers shrink.
        projected = functional.linear(x, self.lin_l.weight)
        return aggregate(adjacency, projected) + self.lin_l.bias + self.lin_r(x)


class GraphNetwork(nn.Module):
    """A stack of graph convolutions for node classification."""

    def __init__(self, config: GraphNetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths()
        layer = GcnConv if config.kind == "gcn" else SageConv
        self.convs = nn.ModuleList(layer(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor, adjacency: Adjacency, labels: Tensor | None = None) -> NodeOutput:
        """Classify nodes.

        Args:
            x: Features (N, num_features).
            adjacency: Of `normalized_adjacency` for this kind.
            labels: Classes (N,), -100 where unknown or held out.
        """
        last = len(self.convs) - 1
        for index, conv in enumerate(self.convs):
            x = conv(x, adjacency)
            if index < last:
                x = functional.dropout(functional.relu(x), self.config.dropout, self.training)
        loss = None if labels is None else functional.cross_entropy(x, labels)
        return NodeOutput(x, loss)


def normalized_adjacency(edge_index: Tensor, nodes: int, kind: Kind) -> Adjacency:
    """Return the matrix that a layer of this kind sums with.

    Args:
        edge_index: (2, E) source and target of each edge, torch-geometric's convention; messages
            go from source to target. A repeated edge counts as often as it is listed.
        nodes: Number of nodes N.
        kind: "gcn" adds self-loops where there are none and normalises by both degrees; "sage"
            divides by the number of incoming edges.

    Raises:
        UserError: An edge names a node outside 0..N-1.
    """
    source, target = edge_index.numpy()
    if edge_index.numel() and not 0 <= edge_index.min() <= edge_index.max() < nodes:
        raise UserError(f"an edge leads outside the {nodes} nodes of its graph")
    ones = np.ones(source.shape[0])
    matrix = scipy.sparse.coo_array((ones, (target, source)), shape=(nodes, nodes)).tocsr()
    if kind == "gcn":
        loops = np.where(matrix.diagonal() == 0, 1.0, 0.0)
        matrix = (matrix + scipy.sparse.diags_array(loops)).tocsr()
    degree = np.asarray(matrix.sum(axis=1)).ravel()
    inverse = np.divide(1.0, degree, out=np.zeros(nodes), where=degree > 0)
    if kind == "gcn":
        scale = scipy.sparse.diags_array(np.sqrt(inverse))
        return Adjacency.of(scale @ matrix @ scale)
    return Adjacency.of(scipy.sparse.diags_array(inverse) @ matrix)


def graph_network_sites(config: GraphNetworkConfig) -> dict[str, Site]:
    """Return `feature.<l>`, the features between layers l and l + 1, for every l.

    | kind | rows of layer l | columns of layer l + 1 |
    |---|---|---|
    | gcn | lin and bias | lin |
    | sage | lin_l with its bias, lin_r | lin_l, lin_r |
    """
    names = ("lin",) if config.kind == "gcn" else ("lin_l", "lin_r")
    bias = "bias" if config.kind == "gcn" else "lin_l.bias"
    sites = [
        Site(
            f"feature.{layer}",
            config.hidden_size,
            "layer",
            (
                *(TensorAxis(f"convs.{layer}.{name}.weight", 0) for name in names),
                TensorAxis(f"convs.{layer}.{bias}", 0),
                *(TensorAxis(f"convs.{layer + 1}.{name}.weight", 1) for name in names),
            ),
        )
        for layer in range(config.num_hidden_layers - 1)
    ]
    return {site.name: site for site in sites}
