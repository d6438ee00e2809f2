"""The variants of each ablation: a pipeline of arms with one choice of its solver changed.

Objectives share one function, pruned in original order, so that nothing but the order tells them
apart. All other ablations change the iterative arm (P, T, P); the first P decides what T keeps, so
their functions may differ, and their quality is recorded.

The affinity of a pruned function is how its weights share rows and columns. So an ablation of the
affinity (few samples, gradients) changes the first P, and the last one only through what T keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from seqlab.studies.codesign.ablations.spec import (
    CLUSTERS,
    COMPONENTS,
    GRID,
    SENSITIVITY,
    RunAblationSpec,
    kind_of,
)
from seqlab.studies.codesign.workbench import names as arms

if TYPE_CHECKING:
    from seqlab.models.permuting import Site
    from seqlab.studies.codesign.workbench.subject import Subject

FULL = "full"
AA_SUFFIX = "_aa"
IDENTITY, ORIGINAL = "identity", "original"
ACTIVATIONS, FEW, GRADIENTS = "activations", "few", "gradients"
ADAPTIVE = "block_adaptive"
ONCE_RANDOM, ONCE_SPECTRAL = "once_random", "once_spectral"
ITERATED_RANDOM, ITERATED_SPECTRAL = "iterated_random", "iterated_spectral"
_PACKAGES = {"metis": "pymetis"}


@dataclass(frozen=True)
class Plan:
    """How the layouts of a variant are solved; None is what the workbench does.

    Attributes:
        method: Solver of features.
        block: Features per block.
        clusters: Number of groups.
        sites: Sites that are laid out.
        nodes: Order of the nodes of a graph.
        affinity: What affinities of a function without zeros are measured on.
    """

    method: str | None = None
    block: int | None = None
    clusters: int | None = None
    sites: tuple[str, ...] | None = None
    nodes: str | None = None
    affinity: str = ACTIVATIONS


@dataclass(frozen=True)
class Variant:
    """One configuration: an arm of the workbench, its layouts solved to plan."""

    plan: Plan = Plan()
    pipeline: str = arms.ITERATIVE


# Components of the solver by what they replace.
COMPONENT_METHODS = {
    "random_clusters": "clustering",
    "kmeans": "clustering",
    "hierarchical": "clustering",
    "metis": "clustering",
    "tsp": "objective",
    "cut": "objective",
    "random_walk": "affinity",
    "random_projection": "affinity",
}


def variants_of(spec: RunAblationSpec, subject: Subject) -> dict[str, Variant]:
    """Return the variants of a cell that is no comparison of objectives, the reference first."""
    kind = kind_of(spec.cell)
    if kind == COMPONENTS:
        return component_variants(spec.rounds)
    if kind == SENSITIVITY:
        return sensitivity_variants(subject, spec.blocks)
    if kind == GRID:
        return grid_variants()
    if kind == CLUSTERS:
        assert spec.clusters_reference is not None
        return cluster_variants(spec.clusters, spec.clusters_reference)
    raise KeyError(spec.cell)


def objective_plans(spec: RunAblationSpec) -> dict[str, Plan]:
    """Return objective -> plan, the original order first."""
    if spec.node_orders:
        orders = sorted(spec.node_orders, key=lambda name: name != ORIGINAL)
        return {name: Plan(sites=(), nodes=name) for name in orders}
    methods = sorted(spec.methods, key=lambda name: name != IDENTITY)
    return {name: Plan(method=name) for name in methods}


def component_variants(rounds: Sequence[int]) -> dict[str, Variant]:
    """Return the component ablation; one iteration is `full` itself, none is `linear_PT`."""
    found = {FULL: Variant()}
    found |= {name: Variant(Plan(method=name)) for name in COMPONENT_METHODS}
    found["few_samples"] = Variant(Plan(affinity=FEW))
    found["gradients"] = Variant(Plan(affinity=GRADIENTS))
    for count in rounds:
        if count != 1:
            pipeline = f"iterative_{count}" if count else arms.LINEAR_PT
            found[f"iterations_{count}"] = Variant(pipeline=pipeline)
    return found


def sensitivity_variants(subject: Subject, blocks: Sequence[int]) -> dict[str, Variant]:
    """Return layers, stage of T and block sizes; the plan of `ADAPTIVE` is not complete yet.

    `full` lays out all layers, prunes between two layouts and has the block of the architecture.
    """
    found = {FULL: Variant()}
    for name, sites in layer_subsets(subject.solved).items():
        found[f"layers_{name}"] = Variant(Plan(sites=sites))
    found["sparsity_after"] = Variant(pipeline=arms.LINEAR_PT)
    found["sparsity_before"] = Variant(pipeline=arms.LINEAR_TP)
    for block in blocks:
        if block != subject.spec.block:
            found[f"block_{block}"] = Variant(Plan(block=block))
    found[ADAPTIVE] = Variant()
    return found


def layer_subsets(sites: dict[str, Site]) -> dict[str, tuple[str, ...]]:
    """Return subset of layers -> sites laid out.

    A dimension that all layers share belongs to every subset: the subsets differ in layers alone.
    """
    layered = [name for name, site in sites.items() if site.scope == "layer"]
    layered.sort(key=lambda name: (int(name.rpartition(".")[2]), name))
    numbers = sorted({int(name.rpartition(".")[2]) for name in layered})
    half = (len(numbers) + 1) // 2
    chosen = {
        "first_half": numbers[:half],
        "second_half": numbers[half:],
        "every_other": numbers[::2],
    }
    shared = [name for name in sites if name not in layered]
    return {
        subset: (*shared, *(n for n in layered if int(n.rpartition(".")[2]) in kept))
        for subset, kept in chosen.items()
    }


def grid_variants() -> dict[str, Variant]:
    """Return no iteration or one, by random clusters or those of the workbench's solver."""
    random = Plan(method="random_clusters")
    return {
        ITERATED_SPECTRAL: Variant(),
        ITERATED_RANDOM: Variant(random),
        ONCE_SPECTRAL: Variant(pipeline=arms.LINEAR_PT),
        ONCE_RANDOM: Variant(random, arms.LINEAR_PT),
    }


def cluster_variants(clusters: Sequence[int], reference: int) -> dict[str, Variant]:
    """Return the numbers of clusters of Algorithm 1 (`spectral_kmeans`), the reference first."""
    ordered = sorted(clusters, key=lambda k: k != reference)
    return {f"k{k}": Variant(Plan(method="spectral_kmeans", clusters=k)) for k in ordered}


def why_not_run(name: str) -> str | None:
    """Return why a method cannot be run on this machine, None where it can."""
    package = _PACKAGES.get(name)
    if package is None or find_spec(package) is not None:
        return None
    return missing_package(name)


def missing_package(name: str) -> str:
    """Return the reason of a configuration that was not run for want of its package."""
    package = _PACKAGES.get(name)
    return f"needs the package {package}, which is not installed" if package else "no value"
