"""Settings of the trade-off between latency and quality."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from seqlab.spec import setting
from seqlab.studies.codesign.experiment import AnalyseSpec, DrawSpec, Experiment, RunSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

Percent = Annotated[int, Field(ge=0, lt=100)]


class ParetoRunSpec(RunSpec):
    """Settings of one run."""

    sparsities: tuple[Percent, ...] = setting("Sparsities of unstructured magnitude masks.")
    repeats: int = setting("Timed calls per arm and sparsity.")


class ParetoAnalyseSpec(AnalyseSpec):
    """Settings of the statistics."""

    reference: tuple[float, float] = setting("Bounds of what counts in a hypervolume.")
    resamples: int = setting("Bootstrap resamples of the runs.")


class SotaSpec(DrawSpec):
    """Settings of Table 7."""

    shown: int = setting("Sparsity of its rows.")


class ParetoSpec(Experiment):
    """Figure 6 and Table 7: latency against quality over sparsities."""

    figures: ClassVar[tuple[str, ...]] = ("pareto",)
    tables: ClassVar[tuple[str, ...]] = ("sota",)

    architecture: str = setting("Architecture.", default="mamba")
    sparsities: tuple[Percent, ...] = setting(
        "Sparsities of unstructured magnitude masks; 0 keeps all weights.",
        unit="%",
        source="codesign.md 2.11",
        min_length=2,
    )
    learned: Literal["hds", "hds_tuned", "magnitude_tuned"] = setting(
        "Trained masks (codesign.masks) that are a point too."
    )
    shown: int = setting("Sparsity of the rows of Table 7.", unit="%")
    repeats: int = setting("Timed calls per arm and sparsity.", ge=3)
    reference: tuple[float, float] = setting(
        "Bounds of what counts in a hypervolume: latency over that of the dense products, bits per "
        "byte added to the dense model.",
    )
    resamples: int = setting("Bootstrap resamples of the runs.", default=2000, ge=100)

    @model_validator(mode="after")
    def _check(self) -> ParetoSpec:
        if list(self.sparsities) != sorted(set(self.sparsities)):
            raise ValueError(f"sparsities {self.sparsities} must rise")
        if self.shown not in self.sparsities:
            raise ValueError(f"shown {self.shown} is not one of sparsities {self.sparsities}")
        if not (self.reference[0] > 1 and self.reference[1] > 0):
            raise ValueError(f"reference {self.reference} must be above (1, 0), the dense model")
        return self

    def cells(self) -> list[str]:
        """Return the one architecture."""
        return [self.architecture]

    def architectures(self, cell: str) -> list[str]:
        """Return the one architecture."""
        return [cell]

    def further_assets(self, bench: WorkbenchSpec, cell: str) -> list[str]:
        """Return the model with trained masks."""
        asset = bench.architectures[cell].asset
        return [f"codesign/masks/{asset}/{self.learned}/trained"]

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> ParetoRunSpec:
        """Return exactly what a run reads."""
        spec = super().run_spec(bench, cell, seed)
        return ParetoRunSpec(**dict(spec), sparsities=self.sparsities, repeats=self.repeats)

    def analyse_spec(self) -> ParetoAnalyseSpec:
        """Return what the statistics read."""
        return ParetoAnalyseSpec(
            **dict(super().analyse_spec()), reference=self.reference, resamples=self.resamples
        )

    def draw_spec(self, artefact: str, scale: str) -> DrawSpec:
        """Return what the figure or the table reads."""
        spec = super().draw_spec(artefact, scale)
        return SotaSpec(**dict(spec), shown=self.shown) if artefact == "sota" else spec

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return what the caption states."""
        architecture = bench.architectures[self.architecture]
        return {
            "model": architecture.asset,
            "length": architecture.length,
            "windows": architecture.quality,
            "sparsities": list(self.sparsities),
            "learned": self.learned,
            "threads": bench.timing.threads,
            "margin": self.margin,
            "reference": list(self.reference),
            "resamples": self.resamples,
        }
