"""Retention with fixed decays (RetNet, Sun et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels.chunked import chunked_decayed
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
    rotated,
)


class Retention(Mixer):
    """S_t = (1 - 2^{-5-h}) S_{t-1} + k_t v_t^T in head h, rotary q and k, a swish output gate."""

    def __init__(self, width: int, head_count: int, local: LocalMixing) -> None:
        super().__init__()
        self.head_count = head_count
        self.q_proj = Projection(width, width, bias=False)
        self.k_proj = Projection(width, width, bias=False)
        self.v_proj = Projection(width, width, bias=False)
        self.convs = ShortConvs((width,) * 3, active=local == "all")
        self.gate_proj = Projection(width, width, bias=False)
        self.norm = RMSNorm(width // head_count, NORM_EPSILON)
        self.out_proj = Projection(width, width, bias=False)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix with decaying memory; see `Mixer.forward`."""
        projected = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        mixed, past = self.convs(projected, None if memory is None else memory[1:])
        q, k, v = (heads(part, self.head_count) for part in mixed)
        q, k = rotated(q, start) * q.shape[-1] ** -0.5, rotated(k, start)
        decays = [math.log1p(-(2.0 ** (-5 - head))) for head in range(self.head_count)]
        g = torch.tensor(decays, dtype=x.dtype, device=x.device)[None, :, None]
        y, state = chunked_decayed(
            q, k, v, g.expand(q.shape[:3]), None if memory is None else memory[0]
        )
        gated = joined_heads(self.norm(y)) * functional.silu(self.gate_proj(x))
        return Mixed(self.out_proj(gated), (state, *past))

    def state_size(self, length: int) -> int:
        """Return the numbers of the matrix states."""
        return self.out_proj.in_features**2 // self.head_count + self.convs.kept
