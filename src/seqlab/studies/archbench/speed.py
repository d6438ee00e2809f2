"""Time forward and backward of every architecture over the length of the sequence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from seqlab.kernels.heap import keep_large_blocks
from seqlab.measure.latency import Latency, Warmup, measure_interleaved
from seqlab.measure.load import ForeignLoad, measure_quietly
from seqlab.models.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    init_sequence_model,
)
from seqlab.studies.archbench.architectures import AGAIN
from seqlab.studies.archbench.steps_spec import SpeedRunSpec
from seqlab.training.precision import autocast

VOCAB = 256
_WARMUP_CALLS = 3


def time_lengths(
    spec: SpeedRunSpec, device: str = "cpu"
) -> dict[int, tuple[Latency, list[ForeignLoad]]]:
    """Return length -> times of one forward and backward pass of every architecture.

    One of them is timed twice, the second time as `AGAIN`. Every batch has the same number of
    tokens, so that a cost that is linear in the length is flat.

    Raises:
        UserError: Other processes used more than the limit in every attempt.
    """
    keep_large_blocks()  # As in training.
    # In an order of its own in every process: the first length pays for what starts up.
    order = np.random.default_rng([spec.seed, 0]).permutation(spec.speed.lengths)
    found = {int(length): _at(spec, int(length), device) for length in order}
    return {length: found[length] for length in spec.speed.lengths}


def _at(spec: SpeedRunSpec, length: int, device: str) -> tuple[Latency, list[ForeignLoad]]:
    rng = np.random.default_rng([spec.seed, length])
    rows = max(1, spec.speed.tokens // length)
    ids = torch.from_numpy(rng.integers(VOCAB, size=(rows, length))).to(device)
    subjects = {name: name for name in spec.architectures} | {AGAIN: spec.speed.again}
    calls = {str(name): _passes(spec, subjects[name], ids) for name in rng.permutation([*subjects])}

    def measure() -> Latency:
        return measure_interleaved(
            calls,
            repeats=spec.speed.repeats,
            rng=rng,
            device=device,
            warmup=Warmup(window=2, max_calls=_WARMUP_CALLS),
            threads=spec.threads,
        )

    return measure_quietly(
        measure,
        limit=spec.speed.max_foreign_load,
        attempts=spec.speed.attempts,
        key="archbench.speed.max_foreign_load",
    )


def _passes(spec: SpeedRunSpec, architecture: str, ids: torch.Tensor) -> Callable[[], None]:
    config = SequenceModelConfig(
        architecture,
        VOCAB,
        **spec.shape.model_dump(),
        positions=ids.shape[1],
    )
    model = init_sequence_model(SequenceModel(config), spec.seed).to(ids.device)

    def call() -> None:
        model.zero_grad(set_to_none=True)
        with autocast(spec.precision, ids.device):
            loss = model(ids).float().square().mean()
        loss.backward()

    return call
