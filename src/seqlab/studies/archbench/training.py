"""Train one variant on one task."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from seqlab.data.diagnostic import Batch
from seqlab.models.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    init_sequence_model,
)
from seqlab.studies.archbench.problems.base import FIRST_STREAM, Problem, generator
from seqlab.studies.archbench.training_spec import TrainingSpec
from seqlab.training.callbacks import StopAtTarget
from seqlab.training.checkpoint import Checkpoints
from seqlab.training.diagnostic import answer, answers_loss, as_tensors
from seqlab.training.distributed import World
from seqlab.training.loop import Job, TrainResult, train
from seqlab.training.spec import TrainSpec
from seqlab.training.update import Update

THRESHOLDS = (0.5, 0.8, 0.9, 0.99)
# Evaluations in a row at the target before training stops.
_IN_A_ROW = 3
_CHECKPOINT_S = 60.0


@dataclass(frozen=True)
class Trained:
    """A model and how it was trained.

    Attributes:
        model: In evaluation mode.
        result: Of the training loop.
        compute_s: Seconds it took: of the processor on a CPU, whatever ran beside it; of the clock
            on a GPU, drawing of the batches included.
        peak_rss_mb: Largest resident memory of the process.
    """

    model: SequenceModel
    result: TrainResult
    compute_s: float
    peak_rss_mb: float

    def steps_to(self, accuracy: float) -> int | None:
        """Return the first evaluated step at an accuracy; None where the run was censored."""
        for row in self.result.evaluations:
            if row["accuracy"] >= accuracy:
                return int(row["step"])
        return None


def build_model(spec: TrainingSpec, problem: Problem, seed: int) -> SequenceModel:
    """Return a variant with its initial weights."""
    config = SequenceModelConfig(
        spec.architecture,
        problem.vocab_size,
        **spec.shape.model_dump(),
        local=spec.local,
        positions=problem.longest,
        frozen_embeddings=getattr(spec.task, "frozen_embeddings", False),
    )
    return init_sequence_model(SequenceModel(config), seed)


def train_model(
    spec: TrainingSpec,
    problem: Problem,
    valid: Batch,
    *,
    rate: float,
    seed: int,
    share: float = 1.0,
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train a variant with one learning rate.

    Args:
        spec: Task, variant, shape and optimiser.
        problem: Of the task.
        valid: What it is evaluated on while it trains.
        rate: Peak learning rate.
        seed: Of weights and training stream; models with one seed see the same sequences.
        share: Of the task's steps.
        device: Where.
        checkpoints: Where to save and resume; None keeps nothing.

    Raises:
        UserError: Training diverged.
        Terminated: SIGTERM.
    """
    steps = max(1, round(share * spec.task.steps))
    settings = TrainSpec(
        steps=steps,
        seed=seed,
        lr=rate,
        weight_decay=spec.optimiser.weight_decay,
        clip=spec.optimiser.clip,
        precision=spec.optimiser.precision,
        warmup_fraction=spec.optimiser.warmup_fraction,
        warmup_steps=min(spec.optimiser.warmup_steps, steps // 2),
        lr_floor=spec.optimiser.lr_floor,
        evaluate_every=max(1, spec.task.steps // spec.optimiser.evaluations),
        monitor="accuracy",
        monitor_goal="higher",
        checkpoint_every_s=_CHECKPOINT_S,
    )
    model = build_model(spec, problem, seed).to(device)
    stop, batch_at = spec.task.stop_at, stream(spec, problem, seed)
    _warm_up(model, settings, batch_at(0))
    result = train(
        model,
        settings,
        Job(
            batch_at=batch_at,
            loss_fn=answers_loss,
            evaluate=_evaluation(problem, valid, spec.optimiser.precision),
            callbacks=[] if stop is None else [StopAtTarget("accuracy", stop, _IN_A_ROW)],
            checkpoints=checkpoints,
        ),
    )
    model.eval()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Trained(model, result, compute_seconds(result.seconds, device), peak)


def _warm_up(model: SequenceModel, settings: TrainSpec, batch: Mapping[str, Tensor]) -> None:
    """Take a step with a copy: loading and compiling kernels, of which some models have more than
    others, is no training.
    """
    update = Update(copy.deepcopy(model), settings, 1, answers_loss, World())
    update(batch, 0, False)


def compute_seconds(seconds: Mapping[str, float], device: str) -> float:
    """Return `Trained.compute_s` of the seconds of a training result."""
    return seconds["cpu"] if device == "cpu" else seconds["train"] + seconds["evaluate"]


def stream(
    spec: TrainingSpec, problem: Problem, seed: int
) -> Callable[[int], Mapping[str, Tensor]]:
    """Return the training batch of each step; it is drawn anew and never repeats."""
    laws = spec.task.mixture or (spec.task.train,)

    def batch_at(step: int) -> Mapping[str, Tensor]:
        rng = generator(spec.name, "train", FIRST_STREAM + seed, step)
        law = laws[rng.integers(len(laws))]
        batch = problem.draw(law, spec.task.batch, rng)
        return as_tensors(batch, problem.weights(batch))

    return batch_at


def _evaluation(
    problem: Problem, valid: Batch, precision: str
) -> Callable[[nn.Module], Mapping[str, float]]:
    def evaluate(model: nn.Module) -> Mapping[str, float]:
        answers = answer(model, valid, precision=precision)
        return {"accuracy": problem.accuracy(answers), "loss": problem.loss(answers)}

    return evaluate
