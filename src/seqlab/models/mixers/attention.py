"""Causal softmax attention, with rotary positions or none of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seqlab.kernels.rotary import rotated
from seqlab.models.mamba import Projection
from seqlab.models.mixers.base import (
    LocalMixing,
    Memory,
    Mixed,
    Mixer,
    QueryKeyValue,
    joined_heads,
)


class Attention(Mixer):
    """Multi-head attention without biases.

    Its memory is keys and values of all tokens before, and what its convolutions remember.
    """

    def __init__(self, width: int, head_count: int, local: LocalMixing, *, rotary: bool) -> None:
        super().__init__()
        self.rotary = rotary
        self.inputs = QueryKeyValue(width, head_count, active=local == "all")
        self.out_proj = Projection(width, width, bias=False)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Attend to the tokens before and to the own one; see `Mixer.forward`."""
        q, k, v, past = self.inputs(x, None if memory is None else memory[2:])
        if self.rotary:
            q, k = rotated(q, start), rotated(k, start)
        mask = None
        if memory is not None:
            k, v = torch.cat((memory[0], k), 2), torch.cat((memory[1], v), 2)
            rows = torch.arange(start, start + x.shape[1], device=x.device)
            mask = torch.arange(k.shape[2], device=x.device) <= rows[:, None]
        y = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
        return Mixed(self.out_proj(joined_heads(y)), (k, v, *past))

    def state_size(self, length: int) -> int:
        """Return the numbers of keys and values."""
        return 2 * length * self.out_proj.in_features + self.inputs.convs.kept
