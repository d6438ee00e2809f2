"""Graph networks on the workbench: weights are pruned, features and nodes laid out.

What the sums over neighbours load depends on the order of the nodes and on nothing else; the graph
does not change when weights are pruned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from seqlab.data.graph_folder import load_graph
from seqlab.data.sources import read_origin
from seqlab.kernels import traces
from seqlab.kernels.aggregate import Adjacency, aggregate
from seqlab.layout.permutation import Permutation
from seqlab.models.equivalence import Inputs
from seqlab.models.graph_network import graph_network_sites, normalized_adjacency
from seqlab.models.graph_pretrained import load_graph_network
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.workbench.spec import ArchitectureSpec
from seqlab.studies.codesign.workbench.subject import Product, Score, Subject

_GATE_NODES = 256


class GraphSubject(Subject):
    """A graph network for node classification; a timed call is one pass over all nodes.

    Args:
        name: Name of the architecture.
        spec: Its settings; batch and length are those of the graph.
        assets: Folder of the trained network, folder of its graph.
        seed: Of the nodes on which layouts are checked.
        device: Where the model runs.
    """

    def __init__(
        self, name: str, spec: ArchitectureSpec, assets: list[Path], seed: int, device: str
    ) -> None:
        network, graph = assets
        model = load_graph_network(network, device)
        config = model.config
        parts = ("lin",) if config.kind == "gcn" else ("lin_l", "lin_r")
        super().__init__(
            name,
            spec,
            model,
            graph_network_sites(config),
            # The last layer has as many rows as there are classes.
            tuple(
                f"convs.{layer}.{part}"
                for layer in range(config.num_hidden_layers - 1)
                for part in parts
            ),
            rehearsal=read_origin(graph).rehearsal,
        )
        self._data = load_graph(graph)
        self._x = torch.from_numpy(self._data.features).to(device)
        edges = torch.from_numpy(self._data.edge_index)
        self._adjacency = normalized_adjacency(edges, len(self._x), config.kind)
        self._seed = seed
        self.graph: scipy.sparse.csr_array = self._adjacency.scipy()

    def calibrate(self, model: nn.Module) -> None:
        """Run the whole graph through the model."""
        model(self._x, self._adjacency)

    def gate_inputs(self) -> Inputs:
        """Return the subgraph of 256 random nodes."""
        chosen = stream(self._seed, "gate").choice(self.nodes, min(_GATE_NODES, self.nodes), False)
        part = self.graph[np.sort(chosen)][:, np.sort(chosen)]
        return {"x": self._x[np.sort(chosen)], "adjacency": Adjacency.of(part)}

    def caller(self, model: nn.Module, nodes: Permutation | None) -> Callable[[], Tensor]:
        """Return one pass over all nodes in the given order; logits come in that order."""
        assert nodes is not None
        x, adjacency = nodes.apply(self._x).contiguous(), self._adjacency.permuted(nodes.indices)

        def call() -> Tensor:
            logits: Tensor = model(x, adjacency).logits
            return logits

        return call

    def score(self, model: nn.Module) -> Score | None:
        """Return accuracy on the test nodes."""
        if not self.spec.quality:
            return None
        logits = model(self._x, self._adjacency).logits
        test = self._data.masks["test"]
        correct = logits.argmax(-1).cpu().numpy()[test] == self._data.labels[test]
        return Score("accuracy", float(correct.mean()), "1")

    def products(self, model: nn.Module, kernel: str, nodes: Permutation | None) -> list[Product]:
        """Return the sum over neighbours at the width between layers, whatever the kernel."""
        assert nodes is not None
        adjacency = self._adjacency.permuted(nodes.indices)
        weight = adjacency.weight
        width = self.model.config.hidden_size  # type: ignore[union-attr]
        x = self._x.new_zeros(self.nodes, int(width))  # type: ignore[arg-type]
        return [
            Product(
                lambda: aggregate(adjacency, x),
                lambda: traces.csr_spmm(weight.indptr, weight.indices, self.nodes, x.shape[1]),
            )
        ]
