"""Settings of the interventions on the caches."""

from __future__ import annotations

from typing import ClassVar

from pydantic import model_validator

from seqlab.spec import setting
from seqlab.studies.codesign.drawn_graph_spec import GraphSpec
from seqlab.studies.codesign.experiment import Experiment, RunSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

CELL, KERNEL = "graph", "aggregate"
LOW, HIGH, LOW_AGAIN = "low_q", "high_q", "low_q_aa"
NATURAL, THRASH, WARM = "natural", "thrash", "warm"
CONDITIONS = (NATURAL, THRASH, WARM)


class InterventionRunSpec(RunSpec):
    """Settings of one run: both layouts of one graph in every condition."""

    graph: GraphSpec = setting("The graph drawn.")
    warm_width: int = setting("Columns of the operand that fits the second cache.")
    targets: tuple[float, ...] = setting("Hit rates that the second cache is scaled to.")
    capacity_max: int = setting("Largest second cache tried.", unit="bytes")
    repeats: int = setting("Timed products per layout, condition and run.")


class InterventionSpec(Experiment):
    """A random and a solved order of the nodes of drawn graphs, in three states of the caches."""

    tables: ClassVar[tuple[str, ...]] = ("intervention",)

    graph: GraphSpec = setting("Graphs drawn for K4, one per run.")
    warm_width: int = setting(
        "Columns of the operand where operand and result are to fit the second cache.",
        unit="columns",
        ge=1,
    )
    targets: tuple[float, ...] = setting(
        "Hit rates that the simulated second cache is scaled to.",
        source="codesign.md 2.5",
        min_length=1,
    )
    capacity_max: int = setting("Largest simulated second cache tried.", unit="bytes", ge=1 << 16)
    repeats: int = setting("Timed products per layout, condition and run.", ge=3)

    @model_validator(mode="after")
    def _check(self) -> InterventionSpec:
        if self.warm_width >= self.graph.width:
            raise ValueError("warm_width must be smaller than the width of the graph")
        wrong = [target for target in self.targets if not 0 < target < 1]
        if wrong:
            raise ValueError(f"{wrong[0]} is no hit rate between 0 and 1")
        return self

    def cells(self) -> list[str]:
        """Return the one cell."""
        return [CELL]

    def architectures(self, cell: str) -> list[str]:
        """Return none: every run draws its graph."""
        return []

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> RunSpec:
        """Return exactly what a run reads."""
        return InterventionRunSpec(
            **self.run_fields(bench, cell, seed),
            graph=self.graph,
            warm_width=self.warm_width,
            targets=self.targets,
            capacity_max=self.capacity_max,
            repeats=self.repeats,
        )


def clamp_level(target: float) -> str:
    """Return the level of the rows of a second cache scaled to a hit rate, such as `hit60`."""
    return f"hit{round(100 * target):02d}"
