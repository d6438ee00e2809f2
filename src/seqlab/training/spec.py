"""Settings of a training run. Lengths are steps or tokens, never seconds."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import model_validator

from seqlab.spec import Spec, setting


class GroupSpec(Spec):
    """Parameters whose names match a pattern, with optimiser settings of their own.

    A value of None means: as for every other parameter.
    """

    match: str = setting("Regular expression searched in the parameter name; first match wins.")
    lr: float | None = setting("Peak learning rate.", default=None, gt=0)
    weight_decay: float | None = setting("Decoupled weight decay.", default=None, ge=0)
    eps: float | None = setting("AdamW's denominator term.", default=None, gt=0)
    clipped: bool = setting(
        "Whether the group counts in, and is scaled by, gradient clipping.", default=True
    )

    @model_validator(mode="after")
    def _compiles(self) -> GroupSpec:
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f"match {self.match!r} is not a regular expression: {error}") from None
        return self


class TrainSpec(Spec):
    """Everything of a training run that changes its numbers, and how often it is saved."""

    steps: int | None = setting(
        "Optimiser steps; give this or `tokens`.", unit="steps", default=None, ge=0
    )
    tokens: int | None = setting(
        "Training tokens, rounded down to whole steps; give this or `steps`.",
        unit="tokens",
        default=None,
        ge=0,
    )
    seed: int = setting(
        "Seed of dropout and gate noise (the data have their own).", default=0, ge=0
    )
    lr: float = setting("Peak learning rate of AdamW.", gt=0)
    betas: tuple[float, float] = setting(
        "AdamW's decay rates of the two moments.", source="HDP section 8.1", default=(0.9, 0.98)
    )
    eps: float = setting("AdamW's denominator term.", default=1e-8, gt=0)
    weight_decay: float = setting(
        "Decoupled weight decay, on matrices only: never on norms, biases, embeddings, A_log, D.",
        source="HDP section 8.1",
        default=0.1,
        ge=0,
    )
    clip: float | None = setting(
        "Largest global gradient norm; null for no clipping.", default=1.0, gt=0
    )
    groups: tuple[GroupSpec, ...] = setting(
        "Parameter groups with settings of their own.", default=()
    )

    schedule: Literal["cosine", "linear", "constant"] = setting(
        "Learning rate after the warm-up.", default="cosine"
    )
    warmup_fraction: float = setting(
        "Share of the steps with a linearly rising learning rate.", default=0.0, ge=0, le=1
    )
    warmup_steps: int = setting("Warm-up is at least this long.", unit="steps", default=0, ge=0)
    lr_floor: float = setting(
        "Learning rate at the end, as a fraction of the peak.", default=0.0, ge=0, le=1
    )

    accumulation: int = setting(
        "Micro-batches per optimiser step and process; the global batch is cut, not multiplied.",
        unit="micro-batches",
        default=1,
        ge=1,
    )
    precision: Literal["fp32", "bf16"] = setting(
        "fp32, or bf16 autocast over fp32 weights and optimiser.", default="fp32"
    )
    compile: bool = setting("Run the model through torch.compile.", default=False)
    gradient_checkpointing: bool = setting(
        "Recompute each block in the backward pass instead of keeping its activations.",
        default=False,
    )

    evaluate_every: int | None = setting(
        "Steps between evaluations; null evaluates only where the caller does.",
        unit="steps",
        default=None,
        ge=1,
    )
    monitor: str = setting("The evaluated metric that picks the best weights.", default="loss")
    monitor_goal: Literal["lower", "higher"] = setting(
        "Whether lower or higher values of `monitor` are better.", default="lower"
    )
    patience: int | None = setting(
        "Evaluations without improvement before training stops; null never stops early.",
        unit="evaluations",
        default=None,
        ge=1,
    )
    min_delta: float = setting("Smallest change that counts as improvement.", default=0.0, ge=0)

    checkpoint_every_steps: int | None = setting(
        "Steps between checkpoints; affects input and output only.",
        unit="steps",
        default=None,
        ge=1,
    )
    checkpoint_every_s: float | None = setting(
        "Wall seconds between checkpoints; affects input and output only, no number.",
        unit="s",
        default=60.0,
        gt=0,
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainSpec:
        if (self.steps is None) == (self.tokens is None):
            raise ValueError("give exactly one of steps and tokens")
        if self.patience is not None and self.evaluate_every is None:
            raise ValueError("patience needs evaluate_every")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} must lie in [0, 1)")
        return self

    def total_steps(self, tokens_per_step: int | None = None) -> int:
        """Return the number of optimiser steps.

        Args:
            tokens_per_step: Tokens of one global batch; needed where the length is in tokens.

        Raises:
            ValueError: The length is in tokens and `tokens_per_step` is missing.
        """
        if self.steps is not None:
            return self.steps
        if not tokens_per_step or self.tokens is None:
            raise ValueError("a length in tokens needs tokens_per_step")
        return self.tokens // tokens_per_step

    def warmup(self, steps: int) -> int:
        """Return the warm-up of a run of `steps` steps: the longer of share and minimum."""
        return min(max(self.warmup_steps, round(self.warmup_fraction * steps)), steps)


class TrainModelSpec(Spec):
    """Settings of the step that trains (or only scores) a causal language model."""

    train: TrainSpec = setting("The training run; `tokens: 0` keeps the weights and only scores.")
    batch: int = setting("Windows per optimiser step, over all processes.", unit="windows", ge=1)
    length: int = setting("Predicted tokens per training window.", unit="tokens", ge=1)
    data_seed: int = setting("Seed of the order of the training windows.", default=0, ge=0)
    evaluate_length: int = setting(
        "Predicted tokens per window of the held-out text; windows do not overlap.",
        unit="tokens",
        ge=1,
    )
    evaluate_tokens: int = setting(
        "Most tokens scored in one forward pass.", unit="tokens", default=4096, ge=1
    )
    threads: int = setting(
        "Compute threads; sums in another order change the last bits.",
        unit="threads",
        default=1,
        ge=1,
    )
