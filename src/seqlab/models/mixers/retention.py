"""Retention with fixed decays (RetNet, Sun et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlab.kernels import linear_attention
from seqlab.kernels.rotary import rotated
from seqlab.models.mixers.base import (
    LocalMixing,
    Memory,
    Mixed,
    Mixer,
    NormedOutput,
    QueryKeyValue,
)


class Retention(Mixer):
    """S_t = (1 - 2^{-5-h}) S_{t-1} + k_t v_t^T in head h, rotary q and k, a swish output gate."""

    def __init__(self, width: int, head_count: int, local: LocalMixing) -> None:
        super().__init__()
        self.head_count, self.width = head_count, width
        self.inputs = QueryKeyValue(width, head_count, active=local == "all")
        self.output = NormedOutput(width, head_count, gated=True)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix with decaying memory; see `Mixer.forward`."""
        q, k, v, past = self.inputs(x, None if memory is None else memory[1:])
        q, k = rotated(q, start) * q.shape[-1] ** -0.5, rotated(k, start)
        decays = [math.log1p(-(2.0 ** (-5 - head))) for head in range(self.head_count)]
        g = torch.tensor(decays, dtype=x.dtype, device=x.device)[None, :, None]
        y, state = linear_attention.decayed(
            q, k, v, g.expand(q.shape[:3]), None if memory is None else memory[0]
        )
        return Mixed(self.output(y, x), (state, *past))

    def state_size(self, length: int) -> int:
        """Return the numbers of the matrix states."""
        return self.width**2 // self.head_count + self.inputs.convs.kept
