"""Settings of the study of layouts: the mechanism figure and the mediation analysis."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import model_validator

from seqlab.spec import setting
from seqlab.studies.codesign.drawn_graph_spec import GraphSpec
from seqlab.studies.codesign.experiment import AnalyseSpec, Experiment, RunSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

GRAPH_CELL = "graph"


class LayoutsRunSpec(RunSpec):
    """Settings of one run: every layout of one cell."""

    graph: GraphSpec = setting("Graphs drawn, one per run of their cell.")
    layouts: int = setting("Layouts.", ge=8)
    repeats: int = setting("Timed products per layout and run.", ge=3)


class LayoutsAnalyseSpec(AnalyseSpec):
    """Settings of the statistics."""

    resamples: int = setting("Bootstrap resamples.", ge=200)
    seed: int = setting("Seed of the bootstrap.")


class LayoutsSpec(Experiment):
    """Layouts between a random and a solved one, and others: what they are worth and cost."""

    figures: ClassVar[tuple[str, ...]] = ("mechanism_scatter", "mediation")
    tables: ClassVar[tuple[str, ...]] = ("mediation",)

    products: tuple[str, ...] = setting(
        "ARCHITECTURE-KERNEL of each cell with a model; its layouts are the same in every run.",
        min_length=1,
    )
    graph: GraphSpec = setting("Graphs drawn for K4.")
    graphs: int = setting("Graphs, one per run; the clusters of their statistics.", ge=3)
    layouts: int = setting("Layouts per model.", source="codesign.md 2.3", ge=8)
    layouts_per_graph: int = setting("Layouts per graph.", ge=8)
    repeats: int = setting("Timed products per layout and run.", ge=3)
    resamples: int = setting("Bootstrap resamples.", source="codesign.md 2.19", ge=200)
    bootstrap_seed: int = setting("Seed of the bootstrap.", source="codesign.md 2.19")

    @model_validator(mode="after")
    def _check(self) -> LayoutsSpec:
        wrong = [name for name in self.products if name.count("-") != 1]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no ARCHITECTURE-KERNEL")
        return self

    def cells(self) -> list[str]:
        """Return the products of models, and the graphs."""
        return [*self.products, GRAPH_CELL]

    def architectures(self, cell: str) -> list[str]:
        """Return the architecture of a cell; graphs have none."""
        return [] if cell == GRAPH_CELL else [cell.partition("-")[0]]

    def runs(self) -> list[str]:
        """Return every run: the same layouts again for models, another graph for graphs."""
        counts = {cell: self.graphs if cell == GRAPH_CELL else self.seeds for cell in self.cells()}
        return [f"{cell}/seed-{seed}" for cell, n in counts.items() for seed in range(n)]

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> RunSpec:
        """Return exactly what a run reads."""
        return LayoutsRunSpec(
            **self.run_fields(bench, cell, seed),
            graph=self.graph,
            layouts=self.layouts_per_graph if cell == GRAPH_CELL else self.layouts,
            repeats=self.repeats,
        )

    def analyse_spec(self) -> AnalyseSpec:
        """Return what the statistics read."""
        return LayoutsAnalyseSpec(
            **super().analyse_spec().model_dump(),
            resamples=self.resamples,
            seed=self.bootstrap_seed,
        )

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return numbers of layouts, sizes and caches."""
        return {
            "layouts": self.layouts,
            "graphs": self.graphs,
            "layouts_per_graph": self.layouts_per_graph,
            "nodes": f"{self.graph.nodes:,}",
            "caches": ", ".join(f"{c.name} {c.size // 1024:,} KiB" for c in bench.caches),
            "resamples": f"{self.resamples:,}",
        }
