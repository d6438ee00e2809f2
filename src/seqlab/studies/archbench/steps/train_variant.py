"""Step: one reported run: train a variant on a task with one seed, and test every condition."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqlab.models.sequence_model import parameter_counts
from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Metric, Record, write_record, write_samples
from seqlab.spec import Context, In, Out, State
from seqlab.studies.archbench.problems.base import Score, unpack
from seqlab.studies.archbench.problems.registry import problem_of
from seqlab.studies.archbench.rates import chosen_rate
from seqlab.studies.archbench.training import THRESHOLDS, Trained, train_model
from seqlab.studies.archbench.training_spec import RunSpec
from seqlab.training.checkpoint import Checkpoints, run_identity
from seqlab.training.diagnostic import answer

TRAINING = "training"


def train_variant(
    spec: RunSpec, *, sets: In, rate: In, state: State, record: Out, samples: Out, context: Context
) -> None:
    """Train with the chosen learning rate and test the last weights.

    Raises:
        UserError: Training diverged.
        Terminated: SIGTERM; checkpoints are in `state`, and the same command goes on from there.
    """
    problem, stored = problem_of(spec.task), unpack(sets)
    chosen, device = chosen_rate(rate), context.torch_device()
    identity = run_identity(spec, context.code, {"sets": sets, "rate": rate})
    checkpoints = Checkpoints(state, identity)
    trained = train_model(
        spec,
        problem,
        stored["valid"],
        rate=chosen,
        seed=spec.seed,
        device=device,
        checkpoints=checkpoints,
    )
    raw: dict[str, np.ndarray] = _curve(trained)
    metrics = {TRAINING: _training(trained, chosen, stored["valid"].input_ids.shape[1])}
    for name in spec.task.tests:
        batch = stored[f"test/{name}"]
        answers = answer(
            trained.model, batch, precision=spec.optimiser.precision, allowed=problem.legal
        )
        metrics[name] = _metrics(problem.scores(answers, batch))
        raw[f"{name}/right"] = answers.right
    digest = write_samples(samples, raw)
    write_record(
        record,
        Record(
            study="archbench",
            experiment="runs",
            cell={"task": spec.name, "architecture": spec.architecture, "local": spec.local},
            seed=spec.seed,
            arms={
                name: Arm(metrics=found, samples_path=samples.name, samples_sha256=digest)
                for name, found in metrics.items()
            },
            environment=environment(spec.model_dump(mode="json"), context.code, context.threads)
            | {"device": device},
        ),
    )
    checkpoints.clear()


def _training(trained: Trained, rate: float, length: int) -> dict[str, Metric]:
    """Return what training took and reached; states are those after `length` tokens."""
    result, model = trained.result, trained.model
    counts = parameter_counts(model)
    state = sum(block.mixer.state_size(length) for block in model.layers())

    def measured(value: float, unit: str) -> Metric:
        return Metric(value=value, unit=unit, provenance="measured")

    def counted(value: float, unit: str) -> Metric:
        return Metric(value=value, unit=unit, provenance="counted")

    found = {
        "rate": counted(rate, "1"),
        "steps": counted(result.steps, "steps"),
        "stopped_early": counted(float(result.stopped != "budget"), "1"),
        "compute_s": measured(trained.compute_s, "s"),
        "cpu_s": measured(result.seconds["cpu"], "s"),
        "wall_s": measured(result.seconds["train"] + result.seconds["evaluate"], "s"),
        "peak_rss_mb": measured(trained.peak_rss_mb, "MiB"),
        "parameters": counted(counts["total"], "parameters"),
        "non_embedding_parameters": counted(counts["non_embedding"], "parameters"),
        "state_bytes": counted(4 * state, "bytes"),
        "valid_accuracy": measured(result.evaluations[-1]["accuracy"], "1"),
    }
    for threshold in THRESHOLDS:
        step = trained.steps_to(threshold)
        found[f"steps_to_{round(100 * threshold)}"] = Metric(
            value=step,
            unit="steps",
            provenance="measured",
            reason=None if step is not None else f"not within {result.steps} steps",
        )
    return found


def _metrics(scores: dict[str, Score]) -> dict[str, Metric]:
    return {
        name: Metric(value=s.value, unit=s.unit, provenance="measured", reason=s.reason)
        for name, s in scores.items()
    }


def _curve(trained: Trained) -> dict[str, np.ndarray]:
    """Return the curve of training and of its evaluations."""
    evaluations: list[dict[str, Any]] = list(trained.result.evaluations)
    curve = {
        f"evaluations/{name}": np.array([row[name] for row in evaluations])
        for name in ("step", "accuracy", "loss")
    }
    return curve | {"train/loss": np.asarray(trained.result.curve["loss"])}
