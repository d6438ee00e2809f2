"""Hooks into the training loop: anneal a temperature, freeze gates, stop at a target, log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass
class Progress:
    """Where a run is; handed to every hook.

    Attributes:
        model: The model in training.
        optimizer: Its optimiser.
        step: Updates done so far (during a step: the number of that step, from 0).
        steps: Updates of the whole run.
        stop_reason: Set by `stop`; None while training goes on.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int
    steps: int
    stop_reason: str | None = None

    def stop(self, reason: str) -> None:
        """End training after the current step or evaluation."""
        self.stop_reason = reason


class Callback:
    """Base of all hooks; override what is needed.

    A resumed run calls `on_start` with `step` > 0. What a hook does should be a function of the
    step, or else be in its `state_dict`, which goes into every checkpoint.
    """

    def on_start(self, progress: Progress) -> None:
        """Before the first step of this process; a resumed run has its state back by then."""

    def on_step_start(self, progress: Progress) -> None:
        """Before the forward pass of step `progress.step`."""

    def on_step_end(self, progress: Progress) -> None:
        """After the update of step `progress.step`."""

    def on_evaluate(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        """After an evaluation, with its metrics."""

    def on_finish(self, progress: Progress) -> None:
        """After the last step; not when the run is interrupted."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: tensors, numbers, text, lists and dicts only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class StopAtTarget(Callback):
    """Stop once `metric` has reached `target` in `times` evaluations in a row."""

    def __init__(self, metric: str, target: float, times: int) -> None:
        self._metric = metric
        self._target = target
        self._times = times
        self._reached = 0

    def on_evaluate(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        """Count the evaluation, or start counting anew below the target."""
        self._reached = self._reached + 1 if metrics[self._metric] >= self._target else 0
        if self._reached >= self._times:
            progress.stop(f"{self._metric} >= {self._target} {self._times} times in a row")

    def state_dict(self) -> dict[str, Any]:
        """Return the evaluations at the target so far."""
        return {"reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the count."""
        self._reached = state["reached"]
