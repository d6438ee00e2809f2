"""Affinities of a Mamba's feature dimensions and the layouts solved from them.

Affinities are measured on weights in original order, so they and the layouts solved from them are
in original labels: any two can be compared, and one can replace the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqlab.data.batches import sample_windows
from seqlab.data.tokens import Tokens
from seqlab.layout.affinity import StreamingCorrelation, affinity
from seqlab.layout.objective import partition_similarity, q_frac
from seqlab.layout.permutation import Permutation
from seqlab.layout.solvers import solve
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.permuting import Layout, Site
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.quantization.spec import AffinitySpec, SolverSpec

Affinities = dict[str, npt.NDArray[np.float64]]

_HIDDEN = "hidden"


def calibration_windows(train: Tokens, spec: AffinitySpec, seed: int) -> Tensor:
    """Return the `(W, T)` training windows on which the affinities of a seed are measured."""
    count = spec.tokens // spec.window
    return torch.from_numpy(sample_windows(train, spec.window, count, stream(seed, "calibration")))


def permuted_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Return the sites that Figure 2 permutes: inner of each layer, hidden of the model."""
    return {
        name: site for name, site in sites.items() if name == _HIDDEN or name.startswith("inner.")
    }


def measure_affinities(
    model: MambaForCausalLM, windows: Tensor, *, mode: Literal["abs", "relu"]
) -> Affinities:
    """Return the activation affinity (G1) of each permuted site.

    The hidden dimension is observed at the inputs of every in_proj, the inner one of a layer at the
    inputs of its x_proj and out_proj; where a dimension is observed at several places, the
    affinities are averaged, because the scales of the activations differ.

    Args:
        model: A Mamba with its weights in original order.
        windows: `(W, T)` token ids.
        mode: `abs` for |R|, `relu` for max(R, 0).

    Returns:
        Site -> `(D, D)` affinity with a zero diagonal.
    """
    correlations: dict[str, list[StreamingCorrelation]] = {}
    with torch.inference_mode(), _observed(model, correlations):
        for window in windows.split(max(1, 1024 // windows.shape[1])):
            model.backbone(window)
    return {
        name: np.mean([affinity(place.correlation(), mode=mode) for place in places], axis=0)
        for name, places in correlations.items()
    }


@contextmanager
def _observed(
    model: MambaForCausalLM, correlations: dict[str, list[StreamingCorrelation]]
) -> Iterator[None]:
    handles = []
    for layer, mixer in enumerate(model.mixers()):
        for site, module in (
            (_HIDDEN, mixer.in_proj),
            (f"inner.{layer}", mixer.x_proj),
            (f"inner.{layer}", mixer.out_proj),
        ):
            correlation = StreamingCorrelation(module.in_features)
            correlations.setdefault(site, []).append(correlation)
            handles.append(module.register_forward_pre_hook(_hook(correlation)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(correlation: StreamingCorrelation) -> Any:
    def observe(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        x = arguments[0]
        correlation.update(x.detach().reshape(-1, x.shape[-1]).float().cpu().numpy())

    return observe


def solve_layout(
    affinities: Affinities, sites: Mapping[str, Site], solver: SolverSpec, block: int, seed: int
) -> Layout:
    """Return the layout that the solver finds for the affinities of each site."""
    return Layout(
        sites,
        {
            name: solve(matrix, solver.method, block, seed + index).permutation
            for index, (name, matrix) in enumerate(sorted(affinities.items()))
        },
    )


def random_layout(sites: Mapping[str, Site], rng: np.random.Generator) -> Layout:
    """Return a layout with every permuted site in random order."""
    names = sorted(permuted_sites(sites))
    return Layout(sites, {name: Permutation.random(sites[name].size, rng) for name in names})


def intra_block_affinity(affinities: Affinities, layout: Layout, block: int) -> float:
    """Return the share of affinity inside blocks (Q_frac), the mean over sites."""
    return float(
        np.mean([q_frac(matrix, layout[name], block) for name, matrix in affinities.items()])
    )


def relative_change(after: Affinities, before: Affinities) -> float:
    """Return ||after - before||_F / ||before||_F, all sites together."""
    change = sum(float(np.sum((after[name] - before[name]) ** 2)) for name in before)
    size = sum(float(np.sum(matrix**2)) for matrix in before.values())
    return float(np.sqrt(change / size))


def layout_similarity(a: Layout, b: Layout, names: list[str], block: int) -> float:
    """Return the adjusted Rand index of the block partitions of two layouts, mean over sites."""
    return float(np.mean([partition_similarity(a[name], b[name], block) for name in names]))
