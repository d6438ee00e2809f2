"""What every experiment on the workbench declares: runs, artefacts, and what its steps read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec


class CollectSpec(Spec):
    """Settings of the step that makes one tidy table of all run records of an experiment."""

    runs: tuple[str, ...] = setting("CELL/seed-N of every run.")

    def members(self, argument: str) -> list[str]:
        """Return the files that the step reads below the folder given as `argument`."""
        return [f"{run}/record.json" for run in self.runs]


class AnalyseSpec(Spec):
    """Settings of the statistics of an experiment."""

    alpha: float = setting("Level of every test.", gt=0, lt=1)
    margin: float = setting("Equivalence margin of a ratio (0.02 is 2 %).", gt=0, lt=1)
    quality_margin: float = setting("Equivalence margin of a difference in quality.", gt=0)


class DrawSpec(Spec):
    """Settings of a figure or a table."""

    scale: str = setting("Scale of the results.")
    margin: float = setting("Equivalence margin of a ratio.")


class FactsSpec(Spec):
    """What a caption states that is no result."""

    scale: str = setting("Scale of the results.")
    seeds: int = setting("Runs per cell.")
    facts: dict[str, Any] = setting("Facts of the experiment.")


class RunSpec(Spec):
    """Settings of one run: one cell, one seed."""

    bench: WorkbenchSpec = setting("The workbench, with the architectures of the cell.")
    cell: str = setting("Name of the cell.")
    seed: int = setting("Seed of inputs, layouts and arm order.")
    threads: int = setting("Compute threads of all that is not timed.", ge=1)


class Experiment(Spec, ABC):
    """Base of the settings of one experiment.

    Attributes:
        figures: Artefacts that are figures; step `draw_<artefact>` draws each.
        tables: Artefacts that are tables; step `tabulate_<artefact>` writes each.
    """

    figures: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...]] = ()

    seeds: int = setting("Runs per cell; the n of every verdict.", ge=2)
    threads: int = setting("Compute threads of all that is not timed.", ge=1)
    alpha: float = setting("Level of every test.", default=0.05, gt=0, lt=1)
    margin: float = setting(
        "Equivalence margin of a ratio (0.02 is 2 %).",
        source="codesign.md 2.20 (7)",
        gt=0,
        lt=1,
    )
    quality_margin: float = setting(
        "Equivalence margin of a difference in quality (bits per byte, accuracy).", gt=0
    )

    @abstractmethod
    def cells(self) -> list[str]:
        """Return the names of the cells."""

    @abstractmethod
    def architectures(self, cell: str) -> list[str]:
        """Return the architectures that a run of a cell measures; their assets are its inputs."""

    def further_assets(self, bench: WorkbenchSpec, cell: str) -> list[str]:
        """Return what a run reads beside its architectures, below `results/<scale>/`."""
        return []

    def runs(self) -> list[str]:
        """Return the folder of every run below `runs/`."""
        return [f"{cell}/seed-{seed}" for cell in self.cells() for seed in range(self.seeds)]

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> RunSpec:
        """Return exactly what a run reads; experiments with settings of their own override it."""
        return RunSpec(**self.run_fields(bench, cell, seed))

    def run_fields(self, bench: WorkbenchSpec, cell: str, seed: int) -> dict[str, Any]:
        """Return what every run reads, for a `RunSpec` with more fields."""
        return {
            "bench": bench.only(*self.architectures(cell)),
            "cell": cell,
            "seed": seed,
            "threads": self.threads,
        }

    def analyse_spec(self) -> AnalyseSpec:
        """Return what the statistics read."""
        return AnalyseSpec(alpha=self.alpha, margin=self.margin, quality_margin=self.quality_margin)

    def draw_spec(self, artefact: str, scale: str) -> DrawSpec:
        """Return what a figure or table reads."""
        return DrawSpec(scale=scale, margin=self.margin)

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return what captions state beside n, devices and noise."""
        return {}
