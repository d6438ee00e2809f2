"""Settings of the step that trains a sentence classifier."""

from __future__ import annotations

from pydantic import model_validator

from seqlab.spec import Spec, setting
from seqlab.training.spec import TrainSpec


class TrainClassifierSpec(Spec):
    """Settings of the step that trains (or only scores) a sentence classifier."""

    train: TrainSpec = setting(
        "The training run, in steps; `steps: 0` keeps the weights and only scores."
    )
    batch: int = setting("Examples per optimiser step, over all processes.", unit="examples", ge=1)
    pool: int = setting(
        "Batches among which examples are sorted by length, against padding; 1 does not sort.",
        unit="batches",
        default=16,
        ge=1,
    )
    data_seed: int = setting("Seed of the order of the examples.", default=0, ge=0)
    head_seed: int = setting(
        "Seed of the classifier head, where the initial weights have none.", default=0, ge=0
    )
    evaluate_tokens: int = setting(
        "Most tokens scored in one forward pass, padding included.",
        unit="tokens",
        default=4096,
        ge=1,
    )
    threads: int = setting(
        "Compute threads; sums in another order change the last bits.",
        unit="threads",
        default=1,
        ge=1,
    )

    @model_validator(mode="after")
    def _length_is_in_steps(self) -> TrainClassifierSpec:
        if self.train.steps is None:
            raise ValueError("give the length in steps: examples differ in their tokens")
        return self
