"""The one training loop.

A run is a pure function of its settings, its initial weights and `batch_at`: the batch, the
learning rate and the random state of every step are derived from the step's number. A checkpoint
therefore holds weights, moments and counters only, and a killed run that resumes ends with the
same bits as an unbroken one (fp32, same CPU, thread count and versions).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from seqlab.errors import Terminated, UserError
from seqlab.kernels.heap import keep_large_blocks
from seqlab.quiet import clock
from seqlab.training.best import Best, load_trained_state, trained_state
from seqlab.training.callbacks import Callback, Progress
from seqlab.training.checkpoint import Checkpoints, load_checkpoint
from seqlab.training.curve import Curve
from seqlab.training.distributed import World
from seqlab.training.interrupt import Interrupt, interruptible
from seqlab.training.progress import progress_bar
from seqlab.training.recompute import recomputed
from seqlab.training.spec import TrainSpec
from seqlab.training.update import STOP, LossFunction, Update, seed_noise

# Reading numbers back stalls a GPU's queue; on a CPU it costs nothing.
_STEPS_PER_READ_GPU = 10
# Key of the noise of evaluations, apart from every micro-batch's.
_EVALUATION = 1 << 31

log = logging.getLogger("seqlab.training")


class Diverged(UserError):
    """The loss or the gradient norm is no longer finite."""

    def __init__(self, name: str, step: int) -> None:
        super().__init__(
            f"training diverged: {name} is not finite at step {step}",
            fix="lower the learning rate or lengthen the warm-up",
        )
        self.step = step


@dataclass(frozen=True)
class Job:
    """What is trained on what.

    Attributes:
        batch_at: The global batch of a step (a tensor, or tuples, lists, dicts of tensors, with
            the batch as first axis), a pure function of the step.
        loss_fn: `loss_fn(model, micro_batch, step) -> Loss`.
        evaluate: Metrics by name; called with the model in evaluation mode, without gradients.
        callbacks: Hooks, called in this order.
        checkpoints: Where to save and resume; None keeps nothing.
        tokens_per_step: Tokens of a global batch, where the length is given in tokens.
        world: The processes that share the batch.
    """

    batch_at: Callable[[int], Any]
    loss_fn: LossFunction
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    callbacks: Sequence[Callback] = ()
    checkpoints: Checkpoints | None = None
    tokens_per_step: int | None = None
    world: World = field(default_factory=World)


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves behind; the last weights are in the model itself.

    Attributes:
        steps: Updates done.
        stopped: `budget`, `patience`, or the reason a callback gave.
        curve: Per step: `loss`, `lr`, `grad_norm` and the terms of the loss.
        evaluations: Per evaluation: `step` and the metrics.
        best: The best evaluated weights.
        seconds: `train`, `evaluate` (of the clock, less what it stood still for others) and `cpu`
            (process time), over all attempts.
        resumed_from: The steps at which attempts after the first began.
    """

    steps: int
    stopped: str
    curve: Curve
    evaluations: list[dict[str, float]]
    best: Best
    seconds: dict[str, float]
    resumed_from: list[int]


def train(model: nn.Module, spec: TrainSpec, job: Job) -> TrainResult:
    """Train the parameters of `model` that require gradients, in place.

    The model stays on its device and its parameters keep their names. It is put into training
    mode; an `on_start` hook may put parts back into evaluation mode.

    Raises:
        UserError: Nothing is trainable, the batch cannot be shared out, the monitored metric is
            missing, or (`Diverged`) the loss is not finite.
        Terminated: SIGTERM; the state after the current step has been saved.
    """
    if (spec.evaluate_every is not None) != (job.evaluate is not None):
        raise UserError("train.evaluate_every and an evaluation function must come together")
    steps = spec.total_steps(job.tokens_per_step)
    keep_large_blocks()
    with ExitStack() as stack:
        interrupt = stack.enter_context(interruptible())
        # Every step seeds the noise anew; the caller's generators must not notice.
        stack.enter_context(torch.random.fork_rng(devices=_cuda_devices(model)))
        if job.checkpoints is not None and job.world.leader:
            stack.enter_context(job.checkpoints.locked())
        if spec.gradient_checkpointing:
            stack.enter_context(recomputed(model))
        return _Run(model, spec, job, steps).execute(interrupt)


def _cuda_devices(model: nn.Module) -> list[int]:
    indices = {parameter.device.index for parameter in model.parameters() if parameter.is_cuda}
    return sorted(index for index in indices if index is not None)


class _Run:
    """One attempt at a run: everything that changes while it lasts."""

    def __init__(self, model: nn.Module, spec: TrainSpec, job: Job, steps: int) -> None:
        self.model, self.spec, self.job, self.steps = model, spec, job, steps
        self.update = Update(model, spec, steps, job.loss_fn, job.world)
        self.progress = Progress(model, self.update.optimizer, 0, steps)
        self.curve = Curve()
        self.evaluations: list[dict[str, float]] = []
        self.best = Best(spec)
        self.resumed_from: list[int] = []
        self.unread: list[tuple[int, dict[str, Tensor]]] = []
        self.peer_must_end = False
        self.saved: tuple[int, int] | None = None
        self.saved_at = time.monotonic()
        self.spent = {"train": 0.0, "evaluate": 0.0, "cpu": 0.0}
        self.clocks = (clock(), time.process_time())

    def execute(self, interrupt: Interrupt) -> TrainResult:
        """Resume, train to the end, save."""
        self.model.train()
        self._resume()
        self.job.world.broadcast_([*self.update.parameters, *self.model.buffers()])
        self._hook("on_start")
        with progress_bar(self.steps, self.progress.step, shown=self.job.world.leader) as show:
            self._until_done(interrupt, show)
        if interrupt.requested:
            self._end()
        self._save()
        self._hook("on_finish")
        return TrainResult(
            steps=self.progress.step,
            stopped=self.progress.stop_reason or "budget",
            curve=self.curve,
            evaluations=self.evaluations,
            best=self.best,
            seconds=self._seconds(),
            resumed_from=self.resumed_from,
        )

    def _until_done(self, interrupt: Interrupt, show: Callable[[int, float], None]) -> None:
        while True:
            # Here and not at the end of a step: a run killed while evaluating resumes here.
            if self._evaluation_due():
                self._evaluate(interrupt)
            if self.progress.stop_reason or self.progress.step >= self.steps:
                return
            self._step(interrupt)
            # By the step's number: all processes come to the same conclusion at the same step.
            if self.progress.step % self._steps_per_read() == 0:
                self._read()
                if self.peer_must_end:
                    self._end()
                show(self.progress.step, float(self.curve.last("loss")))
            if self._save_due():
                self._save()

    def _step(self, interrupt: Interrupt) -> None:
        step = self.progress.step
        self._hook("on_step_start")
        logged = self.update(self.job.batch_at(step), step, interrupt.requested)
        self.unread.append((step, logged))
        self._hook("on_step_end")
        self.progress.step += 1
        # Peers in a data-parallel run agree on the step through the logged row.
        if interrupt.requested and self.job.world.size == 1:
            self._end()

    def _steps_per_read(self) -> int:
        return _STEPS_PER_READ_GPU if self.update.device.type == "cuda" else 1

    def _read(self) -> None:
        """Move the logged values of past steps into the curve.

        Raises:
            Diverged: A loss or gradient norm is not finite.
        """
        if not self.unread:
            return
        flat = torch.cat([torch.stack(_same_kind(row.values())) for _, row in self.unread])
        values = iter(flat.tolist())
        for step, names in self.unread:
            row = {name: next(values) for name in names}
            self.peer_must_end |= row.pop(STOP, 0.0) > 0
            for name in ("loss", "grad_norm"):
                if not math.isfinite(row[name]):
                    raise Diverged(name, step)
            self.curve.append(step, {**row, "lr": self.update.lr(step)})
        self.unread.clear()

    # ------------------------------------------------------------------ evaluation

    def _evaluation_due(self) -> bool:
        every, step = self.spec.evaluate_every, self.progress.step
        if every is None or self._evaluated_step() == step:
            return False
        return step == self.steps or (step > 0 and step % every == 0)

    def _evaluated_step(self) -> int:
        return int(self.evaluations[-1]["step"]) if self.evaluations else -1

    def _evaluate(self, interrupt: Interrupt) -> None:
        self._read()
        started = clock()
        metrics: dict[str, float] = {}
        if self.job.world.leader:
            try:
                with interrupt.at_once():
                    metrics = self._metrics()
            except Terminated:
                self._end()
        metrics = self.job.world.broadcast_object(metrics)
        step = self.progress.step
        self.best.update(step, metrics, trained_state(self.model, self.update.names))
        self.evaluations.append({"step": float(step), **metrics})
        if self.best.exhausted:
            self.progress.stop("patience")
        elapsed = clock() - started
        self.spent["evaluate"] += elapsed
        self.spent["train"] -= elapsed
        log.info("step %d of %d: %s", step, self.steps, _text(metrics))
        self._hook("on_evaluate", metrics)

    def _metrics(self) -> dict[str, float]:
        assert self.job.evaluate is not None
        modes = [(module, module.training) for module in self.model.modules()]
        seed_noise(self.update.device, self.spec.seed, self.progress.step, _EVALUATION)
        self.model.eval()
        try:
            with torch.no_grad():
                metrics = self.job.evaluate(self.model)
        finally:
            for module, training in modes:
                module.training = training
        return {name: float(value) for name, value in metrics.items()}

    # ------------------------------------------------------------------ saving and resuming

    def _save_due(self) -> bool:
        every_steps, every_s = self.spec.checkpoint_every_steps, self.spec.checkpoint_every_s
        if every_steps is not None and self.progress.step % every_steps == 0:
            return True
        return every_s is not None and time.monotonic() - self.saved_at >= every_s

    def _save(self) -> None:
        self._read()
        state = (self.progress.step, self._evaluated_step())
        if self.job.checkpoints is None or not self.job.world.leader or self.saved == state:
            return
        payload = {
            "step": self.progress.step,
            "stop_reason": self.progress.stop_reason,
            "trained": trained_state(self.model, self.update.names),
            "optimizer": self.update.optimizer.state_dict(),
            "curve": self.curve.state_dict(),
            "evaluations": self.evaluations,
            "best": self.best.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.job.callbacks],
            "seconds": self._seconds(),
            "resumed_from": self.resumed_from,
        }
        self.job.checkpoints.save(self.progress.step, payload)
        self.saved, self.saved_at = state, time.monotonic()

    def _resume(self) -> None:
        payload = self._newest()
        if payload is None:
            return
        with torch.no_grad():
            load_trained_state(self.model, payload["trained"])
        self.update.optimizer.load_state_dict(payload["optimizer"])
        self.curve.load_state_dict(payload["curve"])
        self.evaluations = payload["evaluations"]
        self.best.load_state_dict(payload["best"])
        for callback, state in zip(self.job.callbacks, payload["callbacks"], strict=True):
            callback.load_state_dict(state)
        self.progress.step = payload["step"]
        self.progress.stop_reason = payload["stop_reason"]
        self.spent = payload["seconds"]
        self.resumed_from = [*payload["resumed_from"], payload["step"]]
        log.info("resumed from the checkpoint of step %d", payload["step"])

    def _newest(self) -> dict[str, Any] | None:
        """Return rank 0's choice of checkpoint, so that all processes resume from the same."""
        checkpoints, world = self.job.checkpoints, self.job.world
        if checkpoints is None:
            return None
        found = checkpoints.newest() if world.leader else None
        path = world.broadcast_object(str(found[0]) if found else None)
        if path is None or found is not None:
            return found[1] if found else None
        return load_checkpoint(Path(path), checkpoints.identity)

    def _end(self) -> NoReturn:
        self._save()
        kept = "its state is saved" if self.job.checkpoints else "nothing is kept"
        raise Terminated(
            f"SIGTERM after step {self.progress.step} of {self.steps}: {kept}; run again to go on"
        )

    # ------------------------------------------------------------------ small things

    def _hook(self, name: str, *arguments: Any) -> None:
        for callback in self.job.callbacks:
            getattr(callback, name)(self.progress, *arguments)

    def _seconds(self) -> dict[str, float]:
        wall, cpu = clock() - self.clocks[0], time.process_time() - self.clocks[1]
        return {
            "train": self.spent["train"] + wall,
            "evaluate": self.spent["evaluate"],
            "cpu": self.spent["cpu"] + cpu,
        }


def _same_kind(values: Any) -> list[Tensor]:
    """Return scalars as float64 on one device: terms may come in any precision."""
    scalars = list(values)
    return [scalar.to(scalars[0].device, torch.float64) for scalar in scalars]


def _text(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
