"""One optimiser step: slices of the global batch, gradients, averaging, clipping, AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqlab.training import optim
from seqlab.training.distributed import World, row_count, slices, to_device
from seqlab.training.losses import Loss
from seqlab.training.precision import autocast
from seqlab.training.schedule import lr_factor
from seqlab.training.spec import TrainSpec

LossFunction = Callable[[nn.Module, Any, int], Loss]

# In the logged row of a data-parallel step: how many processes were asked to end.
STOP = "stop_requested"


def seed_noise(device: torch.device, *key: int) -> None:
    """Seed the default generators of the CPU and `device` as a function of `key` alone.

    They are what dropout and the like draw from. `torch.manual_seed` would do the same in 0.5 ms
    a call without a GPU, and queue a call for each kind of device that is not there.
    """
    (seed,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
    torch.default_generator.manual_seed(int(seed))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(int(seed))


class Update:
    """Performs optimiser steps on the trainable parameters of one model.

    Args:
        model: The model, on its device.
        spec: Optimiser, schedule, accumulation, precision.
        steps: Updates of the whole run.
        loss_fn: Loss of one micro-batch.
        world: The processes that share the batch.
    """

    def __init__(
        self, model: nn.Module, spec: TrainSpec, steps: int, loss_fn: LossFunction, world: World
    ) -> None:
        groups = optim.parameter_groups(model, spec)
        self.names = frozenset(name for group in groups for name in group["names"])
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.device = self.parameters[0].device
        self.optimizer = optim.adamw(groups, spec)
        self._spec, self._steps, self._loss_fn, self._world = spec, steps, loss_fn, world
        # The compiled form shares the parameters; saving and evaluating use the model itself.
        self._called: Any = torch.compile(model) if spec.compile else model

    def lr(self, step: int) -> float:
        """Return the learning rate of update `step` of parameters without a group of their own."""
        return self._spec.lr * lr_factor(self._spec, step, self._steps)

    def __call__(self, batch: Any, step: int, stop: bool) -> dict[str, Tensor]:
        """Make one update.

        Args:
            batch: The global batch.
            step: Updates done before.
            stop: This process has been asked to end; data-parallel peers are told.

        Returns:
            Scalars on the device: `loss`, its terms, `grad_norm`; means over the global batch.
        """
        optim.set_lr(self.optimizer, lr_factor(self._spec, step, self._steps))
        logged = self._gradients(batch, step, stop)
        logged["grad_norm"] = optim.clip_gradients(self.optimizer, self._spec.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return logged

    def _gradients(self, batch: Any, step: int, stop: bool) -> dict[str, Tensor]:
        parts = slices(batch, self._world, self._spec.accumulation)
        if len(parts) == 1 and self._world.size == 1:
            loss = self._loss(parts[0], step, 0)
            torch.autograd.backward(loss.total)
            return _logged(loss)
        sums: dict[str, Tensor] = {}
        weight = torch.zeros((), dtype=torch.float64, device=self.device)
        for index, part in enumerate(parts):
            loss = self._loss(part, step, self._world.rank * len(parts) + index)
            units = row_count(part) if loss.weight is None else loss.weight
            torch.autograd.backward(loss.total * units)
            weight = weight + units
            for name, value in _logged(loss).items():
                sums[name] = sums.get(name, 0.0) + value.double() * units
        return self._average(sums, weight, stop)

    def _average(self, sums: dict[str, Tensor], weight: Tensor, stop: bool) -> dict[str, Tensor]:
        """Turn sums over this process's units into means over everybody's, gradients included."""
        together = torch.stack([weight, weight * 0 + stop, *sums.values()])
        weight, stopping, *totals = self._world.sum_(together).unbind()
        self._world.sum_gradients(self.parameters)
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.div_(weight)
        means = {name: total / weight for name, total in zip(sums, totals, strict=True)}
        return {**means, STOP: stopping} if self._world.size > 1 else means

    def _loss(self, part: Any, step: int, index: int) -> Loss:
        # By position in the global batch: noise is the same however the batch is shared out.
        seed_noise(self.device, self._spec.seed, step, index)
        with autocast(self._spec.precision, self.device):
            return self._loss_fn(self._called, to_device(part, self.device), step)


def _logged(loss: Loss) -> dict[str, Tensor]:
    return {"loss": loss.total.detach(), **loss.terms}
