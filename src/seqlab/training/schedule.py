"""Learning rate as a pure function of the step: nothing to save, nothing to lose on resuming."""

from __future__ import annotations

import math

from seqlab.training.spec import TrainSpec


def lr_factor(spec: TrainSpec, step: int, steps: int) -> float:
    """Return the learning rate of update `step` as a fraction of the peak.

    Rises linearly over the warm-up, (step + 1) / warmup, then falls from 1 to `lr_floor` by half a
    cosine (Loshchilov and Hutter 2017, without restarts), a line, or not at all. The floor is
    reached *after* the last update, so that with a floor of zero no update is wasted.

    Args:
        spec: The schedule.
        step: Updates done so far, 0 <= step < steps.
        steps: Updates of the whole run.
    """
    warmup = spec.warmup(steps)
    if step < warmup:
        return (step + 1) / warmup
    if spec.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - warmup)
    remaining = 1 - progress
    if spec.schedule == "cosine":
        remaining = 0.5 * (1 + math.cos(math.pi * progress))
    return spec.lr_floor + (1 - spec.lr_floor) * remaining
