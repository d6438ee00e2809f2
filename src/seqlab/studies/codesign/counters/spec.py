"""Settings of the profiles by Nsight Compute."""

from __future__ import annotations

from collections.abc import Mapping

from seqlab.errors import UserError
from seqlab.spec import Spec, setting
from seqlab.studies.codesign.experiment import RunSpec
from seqlab.studies.codesign.workbench.names import ARMS
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec


class CallSpec(RunSpec):
    """What is profiled: the traced products of one arm under one kernel."""

    kernel: str = setting("Product of the pruned layers.")
    arm: str = setting("Arm.")


class ProfileSpec(CallSpec):
    """Everything one profile reads."""

    timeout_s: float = setting("Time limit of the profiler.", unit="s", gt=0)

    def call(self) -> CallSpec:
        """Return what the profiled program reads."""
        return CallSpec(**{name: getattr(self, name) for name in CallSpec.model_fields})


class CountersSpec(Spec):
    """Profiles that are built by their paths alone: no table waits for a GPU's counters."""

    timeout_s: float = setting(
        "Time limit of one profile; every kernel launch is replayed once per group of counters.",
        unit="s",
        gt=0,
    )
    threads: int = setting("Compute threads.", ge=1)

    def step_spec(self, bench: WorkbenchSpec, wildcards: Mapping[str, str]) -> ProfileSpec:
        """Return the settings of the profile that a path names.

        Raises:
            UserError: The architecture has no such kernel, or there is no such arm.
        """
        name, kernel, arm = wildcards["architecture"], wildcards["kernel"], wildcards["arm"]
        _require("kernel", kernel, bench.architectures[name].kernels)
        _require("arm", arm, ARMS)
        return ProfileSpec(
            bench=bench.only(name),
            cell=name,
            seed=int(wildcards["seed"]),
            threads=self.threads,
            kernel=kernel,
            arm=arm,
            timeout_s=self.timeout_s,
        )


def _require(kind: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UserError(f"no {kind} {name!r}", fix=f"use one of {', '.join(known)}")
