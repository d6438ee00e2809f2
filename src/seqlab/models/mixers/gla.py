"""Gated linear attention with decays of their own for every key channel (Yang et al. 2023)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from seqlab.kernels.chunked import GATE_MIN, chunked_gated
from seqlab.models.mamba import Projection, RMSNorm
from seqlab.models.mixers.base import (
    NORM_EPSILON,
    LocalMixing,
    Memory,
    Mixed,
    Mixer,
    ShortConvs,
    heads,
    joined_heads,
)

_RANK, _NORMALIZER = 16, 16


class GatedLinearAttention(Mixer):
    """Keys of half the width, log decays logsigmoid(W2 W1 x + b) / 16, a swish output gate."""

    def __init__(self, width: int, head_count: int, local: LocalMixing) -> None:
        super().__init__()
        self.head_count = head_count
        keys = width // 2
        self.q_proj = Projection(width, keys, bias=False)
        self.k_proj = Projection(width, keys, bias=False)
        self.v_proj = Projection(width, width, bias=False)
        self.convs = ShortConvs((keys, keys, width), active=local == "all")
        self.decay_down = Projection(width, _RANK, bias=False)
        self.decay_up = nn.Linear(_RANK, keys)
        self.gate_proj = Projection(width, width, bias=False)
        self.norm = RMSNorm(width // head_count, NORM_EPSILON)
        self.out_proj = Projection(width, width, bias=False)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix with gated memory; see `Mixer.forward`."""
        projected = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        mixed, past = self.convs(projected, None if memory is None else memory[1:])
        q, k, v = (heads(part, self.head_count) for part in mixed)
        logits = heads(self.decay_up(self.decay_down(x)), self.head_count)
        g = (functional.logsigmoid(logits) / _NORMALIZER).clamp(min=GATE_MIN)
        y, state = chunked_gated(
            q * q.shape[-1] ** -0.5, k, v, g, None if memory is None else memory[0]
        )
        gated = joined_heads(self.norm(y)) * functional.silu(self.gate_proj(x))
        return Mixed(self.out_proj(gated), (state, *past))

    def state_size(self, length: int) -> int:
        """Return the numbers of the matrix states."""
        return self.out_proj.in_features**2 // (2 * self.head_count) + self.convs.kept
