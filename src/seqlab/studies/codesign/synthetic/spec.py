"""Settings, cells and step settings of the synthetic locality experiment (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from pydantic import model_validator

from seqlab.spec import Spec, setting


class GraphSpec(Spec):
    """A planted-partition graph."""

    nodes: int = setting("Nodes.", ge=16)
    communities: int = setting("Communities of equal size.", ge=2)
    mixing: float = setting("Share of edges between communities.", ge=0, lt=1)
    degree: float = setting("Mean number of neighbours.", gt=0)

    @model_validator(mode="after")
    def _check(self) -> GraphSpec:
        if self.nodes % self.communities:
            raise ValueError(f"{self.communities} communities do not divide {self.nodes} nodes")
        if (1 - self.mixing) * self.degree > self.nodes / self.communities - 1:
            raise ValueError(f"degree {self.degree} does not fit communities of {self.name}")
        if self.mixing * self.degree > self.nodes * (1 - 1 / self.communities):
            raise ValueError(f"degree {self.degree} does not fit between communities")
        return self

    @property
    def name(self) -> str:
        """For example `n1024_k16_mu0.2_d24`: the name of its arm."""
        return f"n{self.nodes}_k{self.communities}_mu{self.mixing:g}_d{self.degree:g}"


class RunSpec(Spec):
    """Settings of one run: every graph with one seed."""

    graphs: tuple[GraphSpec, ...] = setting("Graphs.")
    blocks: tuple[int, ...] = setting("Elements per cache line.", unit="elements")
    capacities: tuple[int, ...] = setting("Lines of the cache.", unit="lines")
    fractions: int = setting("Shuffled fractions, evenly from 0 to 1.")
    steps: int = setting("Accesses of the random walk.", unit="accesses")
    seed: int = setting("Seed of graphs, shuffles and walks.")


class CollectSpec(Spec):
    """Settings of the step that makes one tidy table of all run records."""

    seeds: int = setting("Runs.")

    def members(self, argument: str) -> list[str]:
        """Return the files that the step reads below the folder given as `argument`."""
        return [
            f"seed-{seed}/{name}"
            for seed in range(self.seeds)
            for name in ("record.json", "samples.npz")
        ]


class AnalyseSpec(Spec):
    """Settings of the statistics."""

    alpha: float = setting("Level of every test.", gt=0, lt=1)
    margin: float = setting("Equivalence margin of a hit rate.", gt=0)


class ShownSpec(Spec):
    """The graphs of the two panels that show single layouts."""

    graph: str = setting("Name of the graph of the left panel, as n1024_k16_mu0.2_d24.")
    block: int = setting("Elements per line in the left panel.", ge=2)
    small_block: int = setting("Elements per line in the middle panel.", ge=2)


class DrawSpec(Spec):
    """Settings of the figure."""

    scale: str = setting("Scale of the results.")
    shown: ShownSpec = setting("What the left panels show.")


class FactsSpec(Spec):
    """Settings that the caption states."""

    scale: str = setting("Scale of the results.")
    seeds: int = setting("Runs.")
    steps: int = setting("Accesses of the random walk.")
    shown: ShownSpec = setting("What the left panels show.")
    graphs: int = setting("Number of graphs.")
    margin: float = setting("Equivalence margin of a hit rate.")


class SyntheticSpec(Spec):
    """Figure 3: hit rate of a random walk over a community graph, by layout and cache."""

    nodes: tuple[int, ...] = setting("Nodes of the graphs.", min_length=1)
    communities: tuple[int, ...] = setting("Communities.", min_length=1)
    mixing: tuple[float, ...] = setting("Shares of edges between communities.", min_length=1)
    degree: float = setting("Mean number of neighbours.", gt=0)
    original: GraphSpec = setting(
        "Graph of the original study: p_in 0.8 and p_out 0.1.", source="codesign.md 2.4"
    )
    blocks: tuple[int, ...] = setting(
        "Elements per cache line.", unit="elements", source="codesign.md 2.4", min_length=1
    )
    capacities: tuple[int, ...] = setting(
        "Lines of the fully associative cache.", unit="lines", source="codesign.md 2.4"
    )
    fractions: int = setting("Shuffled fractions, evenly from 0 to 1.", ge=3)
    steps: int = setting("Accesses of each random walk.", unit="accesses", ge=1000)
    seeds: int = setting("Graphs drawn per cell; the n of every verdict.", ge=3)
    alpha: float = setting("Level of every test.", default=0.05, gt=0, lt=1)
    margin: float = setting("Equivalence margin of a hit rate.", gt=0, lt=1)
    shown: ShownSpec = setting("What the left panels show.")

    @model_validator(mode="after")
    def _check(self) -> SyntheticSpec:
        for name in ("nodes", "communities", "mixing", "blocks", "capacities"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} holds a value twice")
        if any(block < 2 or block & (block - 1) for block in self.blocks):
            raise ValueError("blocks must be powers of two, at least 2")
        if any(capacity < 1 for capacity in self.capacities):
            raise ValueError("capacities must be at least 1")
        names = [graph.name for graph in self.graphs()]
        if len(set(names)) != len(names):
            raise ValueError("original is one of the graphs of the grid")
        if self.shown.graph not in {graph.name for graph in self.graphs()}:
            raise ValueError(f"shown.graph {self.shown.graph!r} is not one of the graphs")
        if not {self.shown.block, self.shown.small_block} <= set(self.blocks):
            raise ValueError("shown.block and shown.small_block must be among blocks")
        return self

    def graphs(self) -> tuple[GraphSpec, ...]:
        """Return every graph: the grid, then that of the original study."""
        grid = (
            GraphSpec(nodes=nodes, communities=communities, mixing=mixing, degree=self.degree)
            for nodes, communities, mixing in product(self.nodes, self.communities, self.mixing)
        )
        return (*grid, self.original)

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec | None:
        """Return exactly the settings that `step` reads, None for a step of another experiment."""
        match step:
            case "run_synthetic":
                return RunSpec(
                    graphs=self.graphs(),
                    blocks=self.blocks,
                    capacities=self.capacities,
                    fractions=self.fractions,
                    steps=self.steps,
                    seed=int(wildcards["seed"]),
                )
            case "collect_synthetic":
                return CollectSpec(seeds=self.seeds)
            case "analyse_synthetic":
                return AnalyseSpec(alpha=self.alpha, margin=self.margin)
            case "draw_synthetic":
                return DrawSpec(scale=wildcards["scale"], shown=self.shown)
            case "facts_synthetic":
                return FactsSpec(
                    scale=wildcards["scale"],
                    seeds=self.seeds,
                    steps=self.steps,
                    shown=self.shown,
                    graphs=len(self.graphs()),
                    margin=self.margin,
                )
        return None
