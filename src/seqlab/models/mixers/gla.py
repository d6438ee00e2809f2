"""Gated linear attention with decays of their own for every key channel (Yang et al. 2023)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from seqlab.kernels import linear_attention
from seqlab.kernels.chunked import GATE_MIN
from seqlab.models.mamba import Projection
from seqlab.models.mixers.base import (
    LocalMixing,
    Memory,
    Mixed,
    Mixer,
    NormedOutput,
    QueryKeyValue,
    heads,
)

_RANK, _NORMALIZER = 16, 16


class GatedLinearAttention(Mixer):
    """Keys of half the width, log decays logsigmoid(W2 W1 x + b) / 16, a swish output gate."""

    def __init__(self, width: int, head_count: int, local: LocalMixing) -> None:
        super().__init__()
        self.head_count, self.width = head_count, width
        keys = width // 2
        self.inputs = QueryKeyValue(width, head_count, keys=keys, active=local == "all")
        self.decay_down = Projection(width, _RANK, bias=False)
        self.decay_up = nn.Linear(_RANK, keys)
        self.output = NormedOutput(width, head_count, gated=True)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix with gated memory; see `Mixer.forward`."""
        q, k, v, past = self.inputs(x, None if memory is None else memory[1:])
        logits = heads(self.decay_up(self.decay_down(x)), self.head_count)
        g = (functional.logsigmoid(logits) / _NORMALIZER).clamp(min=GATE_MIN)
        y, state = linear_attention.gated(
            q * q.shape[-1] ** -0.5, k, v, g, None if memory is None else memory[0]
        )
        return Mixed(self.output(y, x), (state, *past))

    def state_size(self, length: int) -> int:
        """Return the numbers of the matrix states."""
        return self.width**2 // (2 * self.head_count) + self.inputs.convs.kept
