"""Settings of the main experiment."""

from __future__ import annotations

from typing import Any, ClassVar

from seqlab.spec import setting
from seqlab.studies.codesign.experiment import DrawSpec, Experiment
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec


class DevicesSpec(DrawSpec):
    """Settings of Table 8."""

    wanted: tuple[str, ...] = setting("Devices of the original table.")


class MainSpec(Experiment):
    """Table 1: every architecture, every arm, under every kernel."""

    figures: ClassVar[tuple[str, ...]] = ("latency_distributions",)
    tables: ClassVar[tuple[str, ...]] = (
        "main_results",
        "results_summary",
        "mechanism",
        "memory_hierarchy",
        "devices",
    )

    architectures_measured: tuple[str, ...] = setting("Architectures.", min_length=1)
    devices_wanted: tuple[str, ...] = setting(
        "Devices of the original Table 8; each without records is a row that was not run.",
        source="codesign.md 2.12",
    )

    def cells(self) -> list[str]:
        """Return the architectures."""
        return list(self.architectures_measured)

    def architectures(self, cell: str) -> list[str]:
        """Return the one architecture of a cell."""
        return [cell]

    def draw_spec(self, artefact: str, scale: str) -> DrawSpec:
        """Return what a figure or table reads; Table 8 names the devices it lacks."""
        spec = super().draw_spec(artefact, scale)
        if artefact != "devices":
            return spec
        return DevicesSpec(**spec.model_dump(), wanted=self.devices_wanted)

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return patterns and threads."""
        chosen = {name: bench.architectures[name] for name in self.architectures_measured}
        return {
            "patterns": sorted({spec.pattern for spec in chosen.values()}),
            "threads": bench.timing.threads,
            "margin": self.margin,
        }
