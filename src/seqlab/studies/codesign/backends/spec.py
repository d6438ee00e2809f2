"""Settings of the comparison with compilers."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from seqlab.spec import setting
from seqlab.studies.codesign.experiment import DrawSpec, Experiment, RunSpec
from seqlab.studies.codesign.workbench.names import DENSE, DENSE_AA, ITERATIVE, LINEAR_PT
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

Compiler = Literal["eager", "inductor", "onnxruntime", "openvino", "tvm"]
EAGER, INDUCTOR = "eager", "inductor"
# Both levels of the factor fusion of Table 6.
FUSION = (EAGER, INDUCTOR)
DENSE_KERNEL, SPARSE_KERNEL = "dense", "csr"
LINEAR_AA = f"{LINEAR_PT}_aa"
# The iterative arm as it is meant to run, without a compiler, timed among the dense programs.
ITERATIVE_SPARSE = f"{ITERATIVE}_{SPARSE_KERNEL}"
# Kernel -> the two identical arms. Sparse kernels hold nothing that was not pruned.
IDENTICAL = {DENSE_KERNEL: (DENSE_AA, DENSE), SPARSE_KERNEL: (LINEAR_AA, LINEAR_PT)}
ARMS = {
    DENSE_KERNEL: (DENSE, DENSE_AA, LINEAR_PT, ITERATIVE),
    SPARSE_KERNEL: (LINEAR_PT, LINEAR_AA, ITERATIVE),
}


class BackendsRunSpec(RunSpec):
    """Settings of one run: every arm by every compiler."""

    compilers: tuple[Compiler, ...] = setting("Compilers measured.")
    mode: str = setting("Mode of inductor.")
    trials: int = setting("Schedules that TVM measures.")
    repeats: int = setting("Timed calls per arm and run.")


class CompilersSpec(DrawSpec):
    """Settings of Table 2."""

    wanted: tuple[str, ...] = setting("Compilers that have rows, measured or not.")


class BackendsSpec(Experiment):
    """Layouts under compilers: Table 2, and fusion against layout, Table 6."""

    tables: ClassVar[tuple[str, ...]] = ("compilers", "fusion")

    architectures_measured: tuple[str, ...] = setting(
        "Architectures; their timed call takes one tensor.", min_length=1
    )
    compilers: tuple[Compiler, ...] = setting(
        "Compilers measured; one that is not installed makes a row that was not run.",
        source="codesign.md 2.24 (table2)",
    )
    compilers_wanted: tuple[Compiler, ...] = setting(
        "Compilers of the table; those not measured at a scale have rows that say so.",
        source="codesign.md 2.19",
    )
    mode: Literal["default", "max-autotune"] = setting(
        "Mode of inductor; max-autotune tries several kernels for each product.",
        source="codesign.md 2.7",
    )
    trials: int = setting("Schedules that TVM measures.", source="codesign.md 2.19", ge=0)
    repeats: int = setting("Timed calls per arm and run.", ge=3)

    @model_validator(mode="after")
    def _check(self) -> BackendsSpec:
        if EAGER not in self.compilers:
            raise ValueError("compilers must hold eager: the others are held against it")
        unlisted = [name for name in self.compilers if name not in self.compilers_wanted]
        if unlisted:
            raise ValueError(f"compilers_wanted lacks {unlisted[0]}, which is measured")
        return self

    def cells(self) -> list[str]:
        """Return the architectures."""
        return list(self.architectures_measured)

    def architectures(self, cell: str) -> list[str]:
        """Return the one architecture of a cell."""
        return [cell]

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> RunSpec:
        """Return exactly what a run reads."""
        return BackendsRunSpec(
            **self.run_fields(bench, cell, seed),
            compilers=self.compilers,
            mode=self.mode,
            trials=self.trials,
            repeats=self.repeats,
        )

    def draw_spec(self, artefact: str, scale: str) -> DrawSpec:
        """Return what a table reads; Table 2 names the compilers that have rows."""
        spec = super().draw_spec(artefact, scale)
        if artefact != "compilers":
            return spec
        return CompilersSpec(**spec.model_dump(), wanted=self.compilers_wanted)

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return the threads."""
        return {"threads": bench.timing.threads, "margin": self.margin}
