"""Settings of the test of path dependence."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.experiment import AnalyseSpec, Experiment, RunSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

Percent = Annotated[float, Field(gt=0, lt=100)]


class MatchSpec(Spec):
    """How a sparsity of equal quality is searched for."""

    sparsity: Percent = setting(
        "Sparsity at which the reference arm (prune, then permute) is taken; one of sparsities.",
        unit="%",
    )
    grid: tuple[Percent, ...] = setting(
        "Sparsities that the other arms are scored at first.", unit="%", min_length=2
    )
    refinements: int = setting(
        "Most further sparsities, each interpolated between the two nearest on both sides.", ge=0
    )
    margin: float = setting(
        "Largest difference of quality that counts as a match.", unit="bits/byte", gt=0
    )

    @model_validator(mode="after")
    def _check(self) -> MatchSpec:
        if list(self.grid) != sorted(set(self.grid)):
            raise ValueError(f"grid {self.grid} must rise")
        return self


class PathsRunSpec(RunSpec):
    """Settings of one run."""

    tile: int = setting("Edge of a tile.")
    sparsities: tuple[Percent, ...] = setting("Shares of tiles pruned.")
    match: MatchSpec = setting("Search for equal quality.")
    repeats: int = setting("Timed calls per arm.")


class PathsAnalyseSpec(AnalyseSpec):
    """Settings of the statistics."""

    slope_margin: float = setting("Equivalence margin of a log-log slope.")
    match: MatchSpec = setting("Search for equal quality.")


class PathsSpec(Experiment):
    """Path dependence: permute and prune tiles in three orders, the fair test of the thesis."""

    tables: ClassVar[tuple[str, ...]] = ("path_dependence",)

    architecture: str = setting("Architecture.", default="mamba")
    tile: Literal[8, 16, 32, 64] = setting(
        "Edge of a tile.", unit="features", source="codesign.md 2.24", default=16
    )
    block: int = setting(
        "Features per block of a layout; tiles are what the layout must keep together, so it is "
        "their edge.",
        unit="features",
        ge=2,
    )
    sparsities: tuple[Percent, ...] = setting(
        "Shares of tiles pruned, equal in all arms.", unit="%", min_length=1
    )
    match: MatchSpec = setting("Search for equal quality.")
    slope_margin: float = setting(
        "Equivalence margin of the log-log slope of latency on tiles around 1.",
        source="codesign.md 6.2 (P7)",
        gt=0,
    )
    repeats: int = setting("Timed calls per arm.", ge=3)

    @model_validator(mode="after")
    def _check(self) -> PathsSpec:
        if self.match.sparsity not in self.sparsities:
            raise ValueError(f"match.sparsity {self.match.sparsity} is not one of sparsities")
        return self

    def cells(self) -> list[str]:
        """Return the one architecture."""
        return [self.architecture]

    def architectures(self, cell: str) -> list[str]:
        """Return the one architecture."""
        return [cell]

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> PathsRunSpec:
        """Return exactly what a run reads; layouts have blocks of their own."""
        spec = super().run_spec(bench, cell, seed)
        architecture = bench.architectures[cell].model_copy(update={"block": self.block})
        own = spec.bench.model_copy(update={"architectures": {cell: architecture}})
        return PathsRunSpec(
            **{**dict(spec), "bench": own},
            tile=self.tile,
            sparsities=self.sparsities,
            match=self.match,
            repeats=self.repeats,
        )

    def analyse_spec(self) -> PathsAnalyseSpec:
        """Return what the statistics read."""
        return PathsAnalyseSpec(
            **dict(super().analyse_spec()), slope_margin=self.slope_margin, match=self.match
        )
