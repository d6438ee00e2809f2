"""One run of the layout controls: products, their layouts, checks, simulated misses and latency.

K0, the dense product, touches the same addresses in any order of its inputs. K1, the sparse one,
loads rows of its operand in the order of its column indices: with neighbours close together they
stay in cache, in a random order they do not, where the operand is larger than the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlab.data.community_graph import CommunityGraph, draw_community_graph
from seqlab.errors import UserError
from seqlab.kernels import traces
from seqlab.kernels.aggregate import Adjacency
from seqlab.kernels.cachesim import Counts
from seqlab.layout.affinity import StreamingCorrelation, affinity
from seqlab.layout.permutation import Permutation
from seqlab.layout.solvers import solve
from seqlab.models.graph_network import normalized_adjacency
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.controls.names import (
    AGAIN,
    CLUSTERED,
    CLUSTERED_AGAIN,
    DENSE,
    ORIGINAL,
    RANDOM,
    SHUFFLED,
    SPARSE,
    SPECTRAL,
)
from seqlab.studies.codesign.controls.spec import DenseSpec, RunSpec, SparseSpec
from seqlab.studies.codesign.memory import hierarchy_of

TOLERANCE = 1e-4
# Planted groups, so that the solved layout has something to find.
_PLANTED_BLOCK = 32
_PLANTED_STRENGTH = 0.7

Order = NDArray[np.int64]


@dataclass(frozen=True)
class Product:
    """One kernel in one layout.

    Attributes:
        place: Allocates the permuted tensors anew and returns a call that computes their product.
        restored: The product back in original labels, for the check.
        reference: The product in float64 by other means, in original labels.
        trace: Addresses of one call.
    """

    place: Callable[[], Callable[[], Tensor]]
    restored: Callable[[], Tensor]
    reference: Tensor
    trace: Callable[[], traces.Trace]


def products(spec: RunSpec) -> dict[str, dict[str, Product]]:
    """Return kernel -> layout -> product, with one pair of identical arms per kernel."""
    return {
        DENSE: dict(_dense_products(spec.dense, np.random.default_rng([spec.seed, 0]), spec.seed)),
        SPARSE: dict(_sparse_products(spec.sparse, np.random.default_rng([spec.seed, 1]))),
    }


def _dense_products(
    spec: DenseSpec, rng: np.random.Generator, seed: int
) -> Iterator[tuple[str, Product]]:
    factors = rng.standard_normal((spec.samples, -(-spec.columns // _PLANTED_BLOCK)))
    samples = rng.standard_normal((spec.samples, spec.columns))
    samples += _PLANTED_STRENGTH * np.repeat(factors, _PLANTED_BLOCK, axis=1)[:, : spec.columns]
    samples = samples[:, rng.permutation(spec.columns)]
    stream = StreamingCorrelation(spec.columns)
    stream.update(samples)
    solved = solve(affinity(stream.correlation()), "spectral_balanced", spec.block, seed)
    weight = torch.from_numpy(rng.standard_normal((spec.rows, spec.columns)).astype(np.float32))
    x = torch.from_numpy(rng.standard_normal((spec.columns, spec.width)).astype(np.float32))
    identity = Permutation.identity(spec.columns)
    layouts = {
        ORIGINAL: identity,
        AGAIN: identity,
        RANDOM: Permutation.random(spec.columns, rng),
        SPECTRAL: solved.permutation,
    }
    sizes = (spec.rows, spec.columns, spec.width)
    reference = weight.double() @ x.double()
    for name, layout in layouts.items():
        place = partial(_place_dense, layout.apply(weight, axis=1), layout.apply(x))
        # A function of the sizes alone: no address depends on the layout.
        yield name, Product(place, place(), reference, partial(traces.dense_gemm, *sizes))


def _place_dense(weight: Tensor, x: Tensor) -> Callable[[], Tensor]:
    w, operand = (t.clone(memory_format=torch.contiguous_format) for t in (weight, x))
    out = torch.empty(len(weight), x.shape[1])
    return lambda: torch.mm(w, operand, out=out)


def _sparse_products(spec: SparseSpec, rng: np.random.Generator) -> Iterator[tuple[str, Product]]:
    graph = draw_community_graph(
        spec.nodes,
        spec.edges,
        spec.communities,
        classes=spec.communities,
        features=spec.width,
        mixing=spec.mixing,
        noise=1.0,
        rng=rng,
    )
    adjacency = normalized_adjacency(torch.from_numpy(graph.edge_index), spec.nodes, "sage")
    x = torch.from_numpy(graph.features)
    reference = torch.from_numpy(adjacency.scipy().astype(np.float64) @ x.double().numpy())
    orders = _orders(graph)
    for name, order in orders.items():
        moved = adjacency.permuted(order)
        yield name, _sparse_product(moved, x[order].contiguous(), order, reference)


def _orders(graph: CommunityGraph) -> dict[str, Order]:
    # The graph's own labels are shuffled.
    clustered = np.argsort(graph.communities, kind="stable")
    return {
        CLUSTERED: clustered,
        CLUSTERED_AGAIN: clustered,
        SHUFFLED: np.arange(graph.nodes),
    }


def _sparse_product(adjacency: Adjacency, x: Tensor, order: Order, reference: Tensor) -> Product:
    weight = adjacency.weight

    def place() -> Callable[[], Tensor]:
        stored = {name: getattr(weight, name).copy() for name in ("indptr", "indices", "values")}
        placed, operand = replace(weight, **stored), x.clone()
        return lambda: placed @ operand

    def restored() -> Tensor:
        result = torch.empty_like(x)
        result[torch.from_numpy(order)] = weight @ x
        return result

    return Product(
        place,
        restored,
        reference,
        lambda: traces.csr_spmm(weight.indptr, weight.indices, weight.shape[1], x.shape[1]),
    )


def check_products(found: dict[str, Product], kernel: str) -> dict[str, float]:
    """Return layout -> relative difference of the restored product from the reference.

    Raises:
        UserError: One differs by more than `TOLERANCE`: it computes something else.
    """
    errors = {}
    for name, product in found.items():
        difference = product.restored().double() - product.reference
        errors[name] = float(difference.norm() / product.reference.norm())
        if not errors[name] <= TOLERANCE:
            raise UserError(
                f"the product in layout {name!r} differs by {errors[name]:.3g} of its norm",
                where=kernel,
            )
    return errors


def simulated(product: Product, caches: tuple[CacheSpec, ...]) -> Counts:
    """Return what one call misses in caches that start empty."""
    hierarchy = hierarchy_of(caches)
    for piece in product.trace():
        hierarchy.access(*piece)
    return hierarchy.counts()
