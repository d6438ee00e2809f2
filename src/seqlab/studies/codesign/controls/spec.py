"""Settings and step settings of the layout controls."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import model_validator

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.caches import CacheSpec, check_caches
from seqlab.studies.codesign.timing import TimingSpec


class DenseSpec(Spec):
    """The dense product, K0: Y (rows, width) = W (rows, columns) X (columns, width)."""

    rows: int = setting("Outputs.", ge=8)
    columns: int = setting("Inputs, whose order the layout changes.", ge=32)
    width: int = setting("Tokens.", ge=1)
    block: int = setting("Channels per block of the solved layout.", ge=2)
    samples: int = setting("Samples of the affinity that is solved for.", ge=64)

    @model_validator(mode="after")
    def _check(self) -> DenseSpec:
        if self.columns % self.block:
            raise ValueError(f"block {self.block} does not divide columns {self.columns}")
        return self


class SparseSpec(Spec):
    """The sparse product, K1: sums over the neighbours in a graph with communities."""

    nodes: int = setting("Nodes, rows of the operand.", ge=64)
    edges: int = setting("Undirected edges drawn.", ge=64)
    communities: int = setting("Communities.", ge=2)
    mixing: float = setting("Share of edges drawn between any two nodes.", ge=0, le=1)
    width: int = setting("Columns of the operand.", ge=1)


class LatencySpec(TimingSpec):
    """How latency is measured."""

    placements: int = setting("Times per run that the tensors of every arm are allocated.", ge=1)
    dense_repeats: int = setting("Timed dense products per arm and placement.", ge=3)
    sparse_repeats: int = setting("Timed sparse products per arm and placement.", ge=3)


class RunSpec(Spec):
    """Settings of one run: both kernels, every layout, one seed."""

    dense: DenseSpec = setting("The dense product.")
    sparse: SparseSpec = setting("The sparse product.")
    caches: tuple[CacheSpec, ...] = setting("Simulated caches.")
    latency: LatencySpec = setting("Latency.")
    seed: int = setting("Seed of weights, graph, random layouts and arm order.")
    threads: int = setting("Compute threads.", ge=1)


class CollectSpec(Spec):
    """Settings of the step that makes one tidy table of all run records."""

    seeds: int = setting("Runs.")

    def members(self, argument: str) -> list[str]:
        """Return the files that the step reads below the folder given as `argument`."""
        return [f"seed-{seed}/record.json" for seed in range(self.seeds)]


class AnalyseSpec(Spec):
    """Settings of the statistics."""

    alpha: float = setting("Level of every test.", gt=0, lt=1)
    margin: float = setting("Equivalence margin of a ratio (0.02 is 2 %).", gt=0, lt=1)


class DrawSpec(Spec):
    """Settings of the figure."""

    scale: str = setting("Scale of the results.")
    margin: float = setting("Equivalence margin of a ratio.")


class FactsSpec(Spec):
    """Settings that the caption states."""

    scale: str = setting("Scale of the results.")
    seeds: int = setting("Runs.")
    dense: DenseSpec = setting("The dense product.")
    sparse: SparseSpec = setting("The sparse product.")
    caches: tuple[CacheSpec, ...] = setting("Simulated caches.")
    margin: float = setting("Equivalence margin of a ratio.")
    placements: int = setting("Times per run that all tensors are allocated.")
    threads: int = setting("Compute threads.")


class ControlsSpec(Spec):
    """Figure with both controls: dense products under any layout, sparse ones under two."""

    dense: DenseSpec = setting("The dense product, the negative control.")
    sparse: SparseSpec = setting("The sparse product, the positive control.")
    caches: tuple[CacheSpec, ...] = setting("Simulated caches, the first nearest.", min_length=1)
    latency: LatencySpec = setting("Latency.")
    seeds: int = setting("Runs; the n of every verdict.", ge=3)
    threads: int = setting("Compute threads of a run.", ge=1)
    alpha: float = setting("Level of every test.", default=0.05, gt=0, lt=1)
    margin: float = setting(
        "Equivalence margin of a ratio (0.02 is 2 %).", source="codesign.md 2.20 (7)", gt=0, lt=1
    )

    @model_validator(mode="after")
    def _check(self) -> ControlsSpec:
        check_caches(self.caches)
        return self

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec | None:
        """Return exactly the settings that `step` reads, None for a step of another experiment."""
        match step:
            case "run_controls":
                return RunSpec(
                    dense=self.dense,
                    sparse=self.sparse,
                    caches=self.caches,
                    latency=self.latency,
                    seed=int(wildcards["seed"]),
                    threads=self.threads,
                )
            case "collect_controls":
                return CollectSpec(seeds=self.seeds)
            case "analyse_controls":
                return AnalyseSpec(alpha=self.alpha, margin=self.margin)
            case "draw_controls":
                return DrawSpec(scale=wildcards["scale"], margin=self.margin)
            case "facts_controls":
                return FactsSpec(
                    scale=wildcards["scale"],
                    seeds=self.seeds,
                    dense=self.dense,
                    sparse=self.sparse,
                    caches=self.caches,
                    margin=self.margin,
                    placements=self.latency.placements,
                    threads=self.threads,
                )
        return None
