"""Settings of the workbench: architectures, layouts, simulated caches and timing."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.caches import CacheSpec, check_caches
from seqlab.studies.codesign.timing import TimingSpec

Kind = Literal["mamba", "bert", "resnet", "graph"]


class ArchitectureSpec(Spec):
    """One architecture: which model, how it is pruned, and on what inputs it is measured."""

    kind: Kind = setting("Family of the model.")
    asset: str = setting("Name of the model in config/assets.yaml.")
    pattern: str = setting(
        "What the transform T keeps: 2:4, unstructured50, tile16-50 (edge, percent zero).",
        source="codesign.md 1.7",
    )
    kernels: tuple[str, ...] = setting(
        "Products that the pruned layers are computed by: dense (K0), csr (K1), bsr16 (K2).",
        source="codesign.md 2.23",
        min_length=1,
    )
    batch: int = setting("Sequences or images of a timed call; graphs take all nodes.", ge=1)
    length: int = setting("Tokens of a sequence, or pixels of an image's edge.", ge=1)
    block: int = setting("Features per block of a layout.", unit="features", ge=2)
    calibration: int = setting(
        "Sequences or images on whose activations affinities are measured.", ge=1
    )
    traced: int = setting(
        "Pruned layers whose products are simulated and timed by themselves, spread over the "
        "model; all of them where there are fewer.",
        ge=1,
    )
    repeats: int = setting("Timed calls per arm and run.", ge=3)
    quality: int = setting("Held-out windows, sentences or nodes scored; 0: none.", ge=0)


class SolverSpec(Spec):
    """How layouts are found."""

    method: str = setting("Solver of feature layouts.", source="codesign.md 1.5")
    node_order: str = setting("Order of graph nodes.", source="codesign.md 2.23 (K4)")
    affinity: Literal["abs", "relu"] = setting(
        "Affinity of a correlation R of activations: |R| or max(R, 0).", default="abs"
    )


class BenchTimingSpec(TimingSpec):
    """How every latency of the workbench is measured."""

    threads: int = setting("Compute threads of the timed work.", ge=1)


class WorkbenchSpec(Spec):
    """What most experiments share; a run reads the architecture of its cell and all the rest."""

    architectures: dict[str, ArchitectureSpec] = setting("Architectures by name.")
    caches: tuple[CacheSpec, ...] = setting("Simulated caches, the first nearest.", min_length=2)
    solver: SolverSpec = setting("Solver.")
    timing: BenchTimingSpec = setting("Timing.")
    gate: float = setting(
        "Largest absolute difference of fp64 logits that a layout may cause.",
        source="codesign.md 1.6",
        gt=0,
    )

    @model_validator(mode="after")
    def _check(self) -> WorkbenchSpec:
        check_caches(self.caches)
        return self

    def only(self, *names: str) -> WorkbenchSpec:
        """Return the same settings with these architectures alone: all that a run of them reads."""
        return self.model_copy(
            update={"architectures": {name: self.architectures[name] for name in names}}
        )
