"""Settings of timing that every timed experiment of the study has."""

from __future__ import annotations

from seqlab.spec import Spec, setting


class TimingSpec(Spec):
    """How arms are warmed up, and how a loaded machine is kept out of the records."""

    warmup_max: int = setting("Most warm-up calls per arm.", ge=1)
    max_foreign_load: float = setting(
        "Cores that other processes may use while timing; above it the run refuses its record.",
        unit="cores",
        gt=0,
    )
    attempts: int = setting("Timing attempts before a loaded machine fails the run.", ge=1)
