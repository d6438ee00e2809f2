"""The best evaluated weights and early stopping."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.training.spec import TrainSpec


def trained_state(model: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    """Return what training changes: the parameters called `names` and the persistent buffers.

    The tensors are the live ones. Frozen weights are left out: they come from where the model came
    from, and a checkpoint of an adapter stays as small as the adapter.
    """
    frozen = {name for name, _ in model.named_parameters(remove_duplicate=False)} - set(names)
    return {
        name: tensor.detach() for name, tensor in model.state_dict().items() if name not in frozen
    }


def load_trained_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy what `trained_state` returned into `model`, in place.

    Raises:
        UserError: The model has no tensor of that name or shape.
    """
    own = model.state_dict()
    for name, tensor in state.items():
        if name not in own or own[name].shape != tensor.shape:
            raise UserError(
                f"the model has no tensor {name!r} of shape {tuple(tensor.shape)}",
                fix="load the weights into the model they were saved from",
            )
        own[name].copy_(tensor)


class Best:
    """Keeps a deep copy of the weights with the best value of the monitored metric.

    Attributes:
        step: Updates done at the best evaluation; None before the first finite one.
        value: The best value.
        weights: The copy: later training does not change it.
    """

    def __init__(self, spec: TrainSpec) -> None:
        self._monitor = spec.monitor
        self._sign = 1.0 if spec.monitor_goal == "lower" else -1.0
        self._patience = spec.patience
        self._min_delta = spec.min_delta
        self._without = 0
        self.step: int | None = None
        self.value: float | None = None
        self.weights: dict[str, Tensor] = {}

    def update(self, step: int, metrics: Mapping[str, float], live: Mapping[str, Tensor]) -> None:
        """Take note of one evaluation; ties keep the earlier weights.

        Raises:
            UserError: The monitored metric is not among `metrics`.
        """
        if self._monitor not in metrics:
            raise UserError(
                f"train.monitor: no metric {self._monitor!r}",
                fix=f"use one of {', '.join(sorted(metrics))}",
            )
        value = metrics[self._monitor]
        if not self._improves(value):
            self._without += 1
            return
        self._without = 0
        self.step, self.value = step, value
        self.weights = {name: tensor.clone() for name, tensor in live.items()}

    def _improves(self, value: float) -> bool:
        if self.value is None:
            return not math.isnan(value)
        return self._sign * (self.value - value) > self._min_delta

    @property
    def exhausted(self) -> bool:
        """Whether `patience` evaluations in a row brought no improvement."""
        return self._patience is not None and self._without >= self._patience

    def load_into(self, model: nn.Module) -> None:
        """Set the weights of `model` to the best ones.

        Raises:
            UserError: There was no evaluation.
        """
        if self.step is None:
            raise UserError("there are no best weights: nothing was evaluated")
        with torch.no_grad():
            load_trained_state(model, self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Return everything, for a checkpoint."""
        return {
            "step": self.step,
            "value": self.value,
            "without": self._without,
            "weights": self.weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.step, self.value = state["step"], state["value"]
        self._without, self.weights = state["without"], dict(state["weights"])
