"""Step: choose the learning rate of a variant on a task by successive halving."""

from __future__ import annotations

import math

from seqlab.provenance.environment import environment
from seqlab.provenance.record import Arm, Metric, Record, write_record
from seqlab.spec import Context, In, Out, State
from seqlab.studies.archbench.problems.base import unpack
from seqlab.studies.archbench.problems.registry import problem_of
from seqlab.studies.archbench.rates import CHOSEN, best_first, trial
from seqlab.studies.archbench.training import train_model
from seqlab.studies.archbench.training_spec import PilotRunSpec
from seqlab.training.checkpoint import Checkpoints, run_identity
from seqlab.training.loop import Diverged


def choose_rate(
    spec: PilotRunSpec, *, sets: In, state: State, record: Out, context: Context
) -> None:
    """Train with every rate for a share of the steps, and the better half of them for longer.

    Raises:
        UserError: Every rate diverged.
        Terminated: SIGTERM; checkpoints are in `state`, and the same command goes on from there.
    """
    identity = run_identity(spec, context.code, {"sets": sets})
    kept: list[Checkpoints] = []
    problem, valid = problem_of(spec.task), unpack(sets)["valid"]
    rates, arms = list(spec.pilot.rates), {}
    for rung, share in enumerate(spec.pilot.rungs):
        scores: dict[float, tuple[float, float]] = {}
        for rate in rates:
            kept.append(Checkpoints(state / trial(rate, rung), identity))
            try:
                trained = train_model(
                    spec,
                    problem,
                    valid,
                    rate=rate,
                    seed=spec.pilot.seed,
                    share=share,
                    device=context.torch_device(),
                    checkpoints=kept[-1],
                )
            except Diverged as error:
                scores[rate] = (-math.inf, math.inf)
                arms[trial(rate, rung)] = Arm(metrics={"accuracy": _nothing(str(error))})
                continue
            last = trained.result.evaluations[-1]
            scores[rate] = (last["accuracy"], last["loss"])
            arms[trial(rate, rung)] = Arm(
                metrics={
                    "accuracy": Metric(value=last["accuracy"], unit="1", provenance="measured"),
                    "nll": Metric(value=last["loss"], unit="nats", provenance="measured"),
                    "steps": Metric(value=trained.result.steps, unit="steps", provenance="counted"),
                    "compute_s": Metric(value=trained.compute_s, unit="s", provenance="measured"),
                }
            )
        rates = best_first(scores)[: max(1, len(rates) // 2)]
    arms[CHOSEN] = Arm(metrics={"rate": Metric(value=rates[0], unit="1", provenance="counted")})
    write_record(
        record,
        Record(
            study="archbench",
            experiment="rates",
            cell={"task": spec.name, "architecture": spec.architecture, "local": spec.local},
            seed=spec.pilot.seed,
            arms=arms,
            environment=environment(spec.model_dump(mode="json"), context.code, context.threads),
        ),
    )
    for checkpoints in kept:
        checkpoints.clear()


def _nothing(reason: str) -> Metric:
    return Metric(value=None, unit="1", provenance="measured", reason=reason)
