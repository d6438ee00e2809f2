"""Kernel K4 on a graph drawn for one run: sums over neighbours, with the nodes in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch
from torch import Tensor

from seqlab.data.community_graph import draw_community_graph
from seqlab.errors import UserError
from seqlab.kernels import traces
from seqlab.kernels.aggregate import Adjacency
from seqlab.layout.objective import q_frac, q_frac_excess, q_newman
from seqlab.layout.permutation import Permutation
from seqlab.models.graph_network import normalized_adjacency
from seqlab.provenance.record import Check
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.drawn_graph_spec import GraphSpec
from seqlab.studies.codesign.workbench.subject import Product

# Relative norm of the difference between a sum in one order and in the original one.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class DrawnGraph:
    """A community graph and an operand, nodes in original order.

    Attributes:
        block: Nodes per block of a layout.
        pattern: (N, N) adjacency of ones.
        truth: The order that sorts nodes by community.
    """

    block: int
    pattern: scipy.sparse.csr_array
    truth: Permutation
    _adjacency: Adjacency
    _x: Tensor

    def product(self, order: Permutation, where: str, width: int | None = None) -> GraphProduct:
        """Return the mean over neighbours with the nodes in an order, checked and in new memory.

        Args:
            order: Order of the nodes.
            where: Name for messages.
            width: Columns of the operand, the first ones; all unless told.

        Raises:
            UserError: It differs from the one in original order.
        """
        x = self._x[:, :width]
        columns = int(x.shape[1])
        weight = self._adjacency.permuted(order.indices).weight
        operand = x[torch.tensor(order.indices)].contiguous()
        reference = self._reference[:, :width]
        found = (weight @ operand).double()[torch.from_numpy(order.positions())]
        error = float((found - reference).norm() / reference.norm())
        if not error <= TOLERANCE:
            raise UserError(f"the sum differs by {error:.3g} of its norm", where=where)
        return GraphProduct(
            Product(_call(weight, operand), _trace(weight, columns)),
            Check(passed=True, value=error, tolerance=TOLERANCE, detail=""),
        )

    @cached_property
    def _reference(self) -> Tensor:
        """The sums (N, C) in original order and float64."""
        return torch.from_numpy(
            self._adjacency.scipy().astype(np.float64) @ self._x.double().numpy()
        )

    def worth(self, order: Permutation) -> dict[str, float]:
        """Return q_frac, q_excess and q_newman of an order."""
        return {
            "q_frac": q_frac(self.pattern, order, self.block),
            "q_excess": q_frac_excess(self.pattern, order, self.block),
            "q_newman": q_newman(self.pattern, order, self.block),
        }


@dataclass(frozen=True)
class GraphProduct:
    """A sum over neighbours in one order, and the check that it is the same sum."""

    product: Product
    check: Check


def draw_graph(size: GraphSpec, seed: int) -> DrawnGraph:
    """Draw the graph of a run."""
    graph = draw_community_graph(
        size.nodes,
        size.edges,
        size.communities,
        classes=size.communities,
        features=size.width,
        mixing=size.mixing,
        noise=1.0,
        rng=stream(seed, "graph"),
    )
    source, target = graph.edge_index
    return DrawnGraph(
        size.block,
        _ones(source, target, size.nodes),
        Permutation(np.argsort(graph.communities, kind="stable")),
        normalized_adjacency(torch.from_numpy(graph.edge_index), size.nodes, "sage"),
        torch.from_numpy(graph.features),
    )


def _call(weight: Any, operand: Tensor) -> Callable[[], object]:
    return lambda: weight @ operand


def _trace(weight: Any, width: int) -> Callable[[], traces.Trace]:
    return lambda: traces.csr_spmm(weight.indptr, weight.indices, weight.shape[1], width)


def _ones(source: npt.NDArray[Any], target: npt.NDArray[Any], nodes: int) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array((np.ones(len(source)), (source, target)), shape=(nodes, nodes))
