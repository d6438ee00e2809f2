"""Settings of the cache profiles."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import model_validator

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.caches import CacheSpec
from seqlab.studies.codesign.experiment import DrawSpec, Experiment, RunSpec
from seqlab.studies.codesign.workbench.names import ALGO_ONLY, ITERATIVE, LINEAR_PT
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

KERNEL = "csr"
LINEAR_AA = f"{LINEAR_PT}_aa"
SIMULATED_ARMS = (ALGO_ONLY, LINEAR_PT, ITERATIVE)
# The caches of the machine that runs, as its system tells them; and what is measured on it.
HERE, MEASURED = "here", "measured"


class ProfileSpec(Spec):
    """The caches of one device."""

    label: str = setting("Name in the figure.")
    origin: str = setting("Where sizes and associativities come from, and what is left out.")
    caches: tuple[CacheSpec, ...] = setting(
        "Caches in front of memory, the first nearest.", min_length=1
    )

    @model_validator(mode="after")
    def _check(self) -> ProfileSpec:
        lines = [cache.line for cache in self.caches]
        if lines != sorted(lines):
            raise ValueError("lines of the caches must not get shorter from one to the next")
        return self


class ProfilesRunSpec(RunSpec):
    """Settings of one run: the arms of one architecture in every profile."""

    profiles: dict[str, ProfileSpec] = setting("Profiles by name.")
    repeats: int = setting("Timed calls per arm and run.")


class ProfilesDrawSpec(DrawSpec):
    """Settings of the figure."""

    labels: tuple[tuple[str, str], ...] = setting(
        "Profiles and their names in the figure, in the order of its columns."
    )


class ProfilesSpec(Experiment):
    """Traffic to memory that layouts save, by device and architecture."""

    figures: ClassVar[tuple[str, ...]] = ("cache_profiles",)

    architectures_measured: tuple[str, ...] = setting("Architectures.", min_length=1)
    profiles: dict[str, ProfileSpec] = setting(
        "Profiles by name, beside that of the machine that runs.", source="codesign.md 2.10"
    )
    repeats: int = setting("Timed calls per arm and run.", ge=3)

    @model_validator(mode="after")
    def _check(self) -> ProfilesSpec:
        taken = {HERE, MEASURED} & {*self.profiles}
        if taken:
            raise ValueError(f"a profile cannot be called {taken.pop()}")
        return self

    def cells(self) -> list[str]:
        """Return the architectures."""
        return list(self.architectures_measured)

    def architectures(self, cell: str) -> list[str]:
        """Return the one architecture of a cell."""
        return [cell]

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> RunSpec:
        """Return exactly what a run reads."""
        return ProfilesRunSpec(
            **self.run_fields(bench, cell, seed),
            profiles=self.profiles,
            repeats=self.repeats,
        )

    def draw_spec(self, artefact: str, scale: str) -> DrawSpec:
        """Return what the figure reads."""
        labels = tuple((name, profile.label) for name, profile in self.profiles.items())
        return ProfilesDrawSpec(**super().draw_spec(artefact, scale).model_dump(), labels=labels)

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return the profiles in words."""
        return {
            "profiles": "; ".join(
                f"{profile.label.splitlines()[0]}: "
                + ", ".join(f"{c.name} {_words(c.size)}, {c.line} B" for c in profile.caches)
                for profile in self.profiles.values()
            ),
            "threads": bench.timing.threads,
        }


def _words(size: int) -> str:
    return f"{size / (1 << 20):g} MiB" if size >= 1 << 20 else f"{size / (1 << 10):g} KiB"
