"""Settings of the main experiment."""

from __future__ import annotations

from typing import Any, ClassVar

from seqlab.spec import setting
from seqlab.studies.codesign.experiment import Experiment
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec


class MainSpec(Experiment):
    """Table 1: every architecture, every arm, under every kernel."""

    figures: ClassVar[tuple[str, ...]] = ("latency_distributions",)
    tables: ClassVar[tuple[str, ...]] = ("main_results", "mechanism", "memory_hierarchy", "devices")

    architectures_measured: tuple[str, ...] = setting("Architectures.", min_length=1)
    parity_seeds: int = setting(
        "Runs per cell in the original study, reported beside.", source="codesign.md 2.1", ge=2
    )

    def cells(self) -> list[str]:
        """Return the architectures."""
        return list(self.architectures_measured)

    def architectures(self, cell: str) -> list[str]:
        """Return the one architecture of a cell."""
        return [cell]

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return patterns and threads."""
        chosen = {name: bench.architectures[name] for name in self.architectures_measured}
        return {
            "patterns": sorted({spec.pattern for spec in chosen.values()}),
            "threads": bench.timing.threads,
            "margin": self.margin,
        }
