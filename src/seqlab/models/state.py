"""The recurrent state of a Mamba model between two tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class MambaState:
    """What a Mamba model remembers of a prefix; its size does not depend on the prefix's length.

    Attributes:
        conv: One (B, I, K) tensor per layer: the last K inputs of the causal convolution, oldest
            first, zeros before the sequence's start. I: inner channels, K: width of the kernel.
        ssm: One (B, I, N) tensor per layer: the state of the scan after the last token.
    """

    conv: list[Tensor]
    ssm: list[Tensor]

    @classmethod
    def zeros(
        cls,
        batch: int,
        channels: Sequence[int],
        kernel: int,
        state_size: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> MambaState:
        """Return the state before the first token; `channels` has one entry per layer."""
        conv = [torch.zeros(batch, i, kernel, dtype=dtype, device=device) for i in channels]
        ssm = [torch.zeros(batch, i, state_size, dtype=dtype, device=device) for i in channels]
        return cls(conv, ssm)

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return self.ssm[0].shape[0]

    def clone(self) -> MambaState:
        """Return an independent copy, so that a draft can be rejected."""
        return MambaState([c.clone() for c in self.conv], [s.clone() for s in self.ssm])
