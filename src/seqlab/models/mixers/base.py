"""What every mixer is: its interface, the short convolution, heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.kernels.conv import causal_conv_silu
from seqlab.models.mamba import Projection, RMSNorm

# What a mixer remembers of a prefix; None before the first token.
Memory = tuple[Tensor, ...]
# Short convolutions and token shifts: as published, on every architecture, on none.
LocalMixing = Literal["native", "all", "none"]

CONV_WIDTH = 4
NORM_EPSILON = 1e-5
# SiLU outputs are near 0 at the first tokens; their direction must have a finite gradient.
UNIT_EPSILON = 1e-6


class Mixed(NamedTuple):
    """What a mixer returns.

    Attributes:
        output: (B, T, D).
        memory: After the last token.
        first: What the first layer hands to all later ones (RWKV-7's values), or None.
    """

    output: Tensor
    memory: Memory
    first: Tensor | None = None


class Mixer(nn.Module, ABC):
    """Mixes a normalised sequence (B, T, D) over time, causally."""

    @abstractmethod
    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix over time.

        Args:
            x: Inputs (B, T, D).
            memory: Of the tokens before; None at the start of a sequence.
            start: Tokens before.
            first: What the first layer returned for the same tokens.
        """

    @abstractmethod
    def state_size(self, length: int) -> int:
        """Return the numbers per sequence that decoding keeps after `length` tokens."""

    @torch.no_grad()
    def init_own(self, layer: int, layers: int, generator: torch.Generator) -> None:
        """Set what does not start as every other parameter does; nothing unless told."""


class ShortConv(nn.Module):
    """Depthwise causal convolution of width 4 with SiLU, or, switched off, SiLU or nothing alone.

    Attributes:
        weight: (D, 4), or None where it is switched off.
    """

    def __init__(self, width: int, active: bool, silu_without: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, CONV_WIDTH)) if active else None
        self.silu_without = silu_without

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the result (B, T, D) and the last inputs (B, 3, D) for what follows."""
        if self.weight is None:
            return (functional.silu(x) if self.silu_without else x), x[:, :0]
        if past is None:
            past = x.new_zeros(x.shape[0], CONV_WIDTH - 1, x.shape[2])
        joined = torch.cat((past, x), 1)
        mixed = causal_conv_silu(joined, self.weight, None, "numba")[:, CONV_WIDTH - 1 :]
        return mixed, joined[:, joined.shape[1] - CONV_WIDTH + 1 :]

    @property
    def kept(self) -> int:
        """Numbers per sequence that decoding keeps."""
        return 0 if self.weight is None else (CONV_WIDTH - 1) * self.weight.shape[0]


class ShortConvs(nn.Module):
    """Queries, keys and values (B, T, D), each through a short convolution of its own."""

    def __init__(self, widths: tuple[int, ...], active: bool, silu_without: bool = False) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ShortConv(width, active, silu_without) for width in widths)

    def forward(
        self, inputs: tuple[Tensor, ...], past: Memory | None
    ) -> tuple[tuple[Tensor, ...], Memory]:
        """Return the results and what they remember, one tensor each."""
        pasts = past or (None,) * len(inputs)
        both = [c(x, p) for c, x, p in zip(self.convs, inputs, pasts, strict=True)]
        return tuple(y for y, _ in both), tuple(kept for _, kept in both)

    @property
    def kept(self) -> int:
        """Numbers per sequence that decoding keeps."""
        return sum(conv.kept for conv in self.convs if isinstance(conv, ShortConv))


class QueryKeyValue(nn.Module):
    """Queries, keys and values of a sequence in heads, each through a short convolution.

    Args:
        width: Width D of the model, and of the values.
        head_count: Heads H.
        keys: Width of queries and keys together over heads; D unless told.
        active: Whether the convolutions are on.
        silu_without: Whether SiLU stays where they are off.
    """

    def __init__(
        self,
        width: int,
        head_count: int,
        *,
        keys: int | None = None,
        active: bool,
        silu_without: bool = False,
    ) -> None:
        super().__init__()
        keys = keys or width
        self.head_count = head_count
        self.q_proj = Projection(width, keys, bias=False)
        self.k_proj = Projection(width, keys, bias=False)
        self.v_proj = Projection(width, width, bias=False)
        self.convs = ShortConvs((keys, keys, width), active, silu_without)

    def forward(self, x: Tensor, past: Memory | None) -> tuple[Tensor, Tensor, Tensor, Memory]:
        """Return q, k (B, H, T, K) and v (B, H, T, W), and what the convolutions remember."""
        projected = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        mixed, kept = self.convs(projected, past)
        q, k, v = (heads(part, self.head_count) for part in mixed)
        return q, k, v, kept


class NormedOutput(nn.Module):
    """Heads joined after a norm within each, times a swish gate where there is one, projected."""

    def __init__(self, width: int, head_count: int, *, gated: bool) -> None:
        super().__init__()
        self.norm = RMSNorm(width // head_count, NORM_EPSILON)
        self.gate_proj = Projection(width, width, bias=False) if gated else None
        self.out_proj = Projection(width, width, bias=False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Return (B, T, D) of heads y (B, H, T, W) and the mixer's input x (B, T, D)."""
        out = joined_heads(self.norm(y))
        if self.gate_proj is not None:
            out = out * functional.silu(self.gate_proj(x))
        return self.out_proj(out)


def heads(x: Tensor, count: int) -> Tensor:
    """Return (B, T, D) as (B, H, T, D / H)."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def joined_heads(x: Tensor) -> Tensor:
    """Return (B, H, T, W) as (B, T, H W)."""
    return x.transpose(1, 2).flatten(2)
