"""Training steps of our RoPE model on associative recall, against plain PyTorch of the same widths.

Input: batches of MQAR (64 sequences of 64 tokens, 8 pairs, 256 ids), one thread, fp32. Ours: a
whole update of the training loop (forward, backward, clipping, AdamW), in which the last MLP sees
the supervised positions alone, as the head does. Peer:
`nn.TransformerEncoder` with a causal mask, norm first, learned positions, an MLP of as many
parameters, an embedding tied with the head, which sees the supervised positions alone,
`clip_grad_norm_` and `torch.optim.AdamW`. It computes another function, so nothing is compared:
`agree` is null. Rows give steps per second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.bench.harness import Plan, compare
from seqlab.data.mqar import MqarLaw, draw_mqar
from seqlab.models.sequence_model import (
    INIT_STD,
    SequenceModel,
    SequenceModelConfig,
    init_sequence_model,
    mlp_width,
    parameter_counts,
)
from seqlab.training.diagnostic import answers_loss, as_tensors
from seqlab.training.distributed import World
from seqlab.training.spec import TrainSpec
from seqlab.training.update import Update

LAW = MqarLaw(vocab_size=256, length=64, pairs=8)
BATCH = 64
CONFIG = SequenceModelConfig(
    "rope", LAW.vocab_size, width=64, layers=2, heads=2, layer_parameters=45_000
)
RATE, DECAY, CLIP = 1e-3, 0.1, 1.0

_NAME = "mqar_train"
_SEED = 0
_STEPS = 1_000_000
_BATCHES = 8


class PlainModel(nn.Module):
    """What one would write with PyTorch's own layers."""

    def __init__(self, config: SequenceModelConfig, length: int) -> None:
        super().__init__()
        width = config.width
        # Two matrices have the parameters of SwiGLU's three.
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            dim_feedforward=3 * mlp_width(config) // 2,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.embeddings = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        for table in (self.embeddings.weight, self.positions):
            nn.init.normal_(table, std=INIT_STD)
        self.encoder = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the last hidden states (B, T, D)."""
        return self.encoder(
            self.embeddings(input_ids) + self.positions, mask=self.mask, is_causal=True
        )


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield one row: our step against the peer's.

    Args:
        quick: Few repeats, to test that the bench works.
        budget_s: Seconds the whole bench may time for.
    """
    most = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rng = np.random.default_rng(_SEED)
        batches = [as_tensors(draw_mqar(LAW, BATCH, rng)) for _ in range(_BATCHES)]
        ours, own = _ours(batches)
        peer, theirs = _peer(batches)
        for row in compare(
            _NAME,
            f"rope B{BATCH} T{LAW.length}",
            ours,
            {"nn.TransformerEncoder (another function)": peer},
            agree=lambda *_: True,
            plan=Plan.of(quick, budget_s),
            rng=rng,
            threads=1,
        ):
            yield row | {
                "agree": None,
                "steps_per_s": 1 / row["ours_s"],
                "peer_steps_per_s": 1 / row["peer_s"],
                "parameters": own,
                "peer_parameters": theirs,
            }
    finally:
        torch.set_num_threads(most)


def _ours(batches: list[dict[str, Tensor]]) -> tuple[Callable[[], Any], int]:
    """Return a call that makes one update, and the parameters outside of embeddings."""
    model = init_sequence_model(SequenceModel(CONFIG), _SEED)
    spec = TrainSpec(steps=_STEPS, seed=_SEED, lr=RATE, weight_decay=DECAY, clip=CLIP)
    update, stream = Update(model, spec, _STEPS, answers_loss, World()), cycle(enumerate(batches))

    def step() -> Any:
        number, batch = next(stream)
        return update(batch, number, False)

    return step, parameter_counts(model)["non_embedding"]


def _peer(batches: list[dict[str, Tensor]]) -> tuple[Callable[[], Any], int]:
    torch.manual_seed(_SEED)
    model = PlainModel(CONFIG, LAW.length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    stream = cycle(batches)

    def step() -> Any:
        batch = next(stream)
        asked = batch["labels"] >= 0
        hidden = model(batch["input_ids"])[asked]
        logits = functional.linear(hidden, model.embeddings.weight)
        loss = functional.cross_entropy(logits, batch["labels"][asked])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step, sum(p.numel() for p in model.encoder.parameters())
