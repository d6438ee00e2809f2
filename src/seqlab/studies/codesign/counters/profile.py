"""From a profile of Nsight Compute to metrics and samples of a run record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqlab.measure import ncu
from seqlab.provenance.record import Metric
from seqlab.spec import Context
from seqlab.studies.codesign.counters.spec import CallSpec


def command(step: str, spec: CallSpec, assets: Sequence[Path], context: Context) -> list[str]:
    """Return the program that runs a step of the study, which calls products between marks."""
    return [
        *(sys.executable, "-m", "seqlab", "codesign", step),
        *("--spec", spec.canonical(), "--code", context.code, "--device", context.device),
        *("--assets", *map(str, assets)),
    ]


def metrics_of(profile: ncu.Profile) -> dict[str, Metric]:
    """Return hit rates (1), traffic (bytes), bank conflicts and time (s) over all launches.

    A counter that the device does not give has the reason for it instead of a value.
    """
    found = {
        "L1_hit_rate": (profile.l1_hit_rate, "1"),
        "L2_hit_rate": (profile.l2_hit_rate, "1"),
        "dram_bytes": (profile.dram_bytes, "bytes"),
        "bank_conflicts": (profile.total(ncu.BANK_CONFLICTS), "1"),
        "kernel_seconds": (profile.total(ncu.TIME), "s"),
    }
    return {
        name: Metric(
            value=value,
            unit=unit,
            provenance="measured",
            reason=None if value is not None else "the profiler gave no such counter",
        )
        for name, (value, unit) in found.items()
    }


def samples_of(profile: ncu.Profile) -> dict[str, np.ndarray]:
    """Return metric -> values per launch, in order; NaN where a launch has none."""
    return {
        name: np.array(
            [
                np.nan if (value := kernel.values.get(name)) is None else value
                for kernel in profile.kernels
            ]
        )
        for name in ncu.METRICS
    } | {"kernel": np.array([kernel.kernel for kernel in profile.kernels], dtype=np.str_)}
