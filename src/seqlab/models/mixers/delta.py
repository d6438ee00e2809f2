"""The delta rule, plain (DeltaNet, Yang et al. 2024a) and with decay (Gated DeltaNet, 2024b)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.kernels import linear_attention
from seqlab.models.mamba import Projection
from seqlab.models.mixers.base import (
    UNIT_EPSILON,
    LocalMixing,
    Memory,
    Mixed,
    Mixer,
    NormedOutput,
    QueryKeyValue,
)

# Steps of the decay that keep memory long where there are few heads: e^{-dt} is 0.999 to 0.990.
_SLOW_STEPS = (1e-3, 1e-2)
# Published: A uniform in (0, 16), steps log-uniform.
_DRAWN_RATE, _DRAWN_STEPS = 16.0, (1e-3, 0.1)


class DeltaNet(Mixer):
    """q, k, v through convolution and SiLU, q and k of unit length, write strength per head.

    Args:
        width: Width D of the model.
        head_count: Heads H.
        local: Short convolutions: native to this mixer.
        gated: Whether the state decays before it is read, by -exp(A_log) softplus(W_a x + dt_bias),
            and the output has a swish gate: Gated DeltaNet.
        drawn: Whether the decays of its heads start as published, at random. Of few heads one often
            forgets within two tokens then; else they start slow, at A = 1.
    """

    def __init__(
        self,
        width: int,
        head_count: int,
        local: LocalMixing,
        *,
        gated: bool = False,
        drawn: bool = False,
    ) -> None:
        super().__init__()
        self.head_count, self.width, self.gated, self.drawn = head_count, width, gated, drawn
        active = local != "none"
        self.inputs = QueryKeyValue(width, head_count, active=active, silu_without=True)
        self.beta_proj = Projection(width, head_count, bias=False)
        if gated:
            self.decay_proj = Projection(width, head_count, bias=False)
            self.A_log = nn.Parameter(torch.zeros(head_count))
            self.dt_bias = nn.Parameter(torch.zeros(head_count))
        self.output = NormedOutput(width, head_count, gated=gated)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix by writing differences; see `Mixer.forward`."""
        q, k, v, past = self.inputs(x, None if memory is None else memory[1:])
        q = functional.normalize(q, dim=-1, eps=UNIT_EPSILON) * q.shape[-1] ** -0.5
        k = functional.normalize(k, dim=-1, eps=UNIT_EPSILON)
        beta = self.beta_proj(x).sigmoid().transpose(1, 2)
        before = None if memory is None else memory[0]
        if self.gated:
            steps = functional.softplus(self.decay_proj(x) + self.dt_bias)
            g = (-self.A_log.exp() * steps).transpose(1, 2)
            y, state = linear_attention.gated_delta(q, k, v, beta, g, before)
        else:
            y, state = linear_attention.delta(q, k, v, beta, before)
        return Mixed(self.output(y, x), (state, *past))

    def state_size(self, length: int) -> int:
        """Return the numbers of the matrix states."""
        return self.width**2 // self.head_count + self.inputs.convs.kept

    @torch.no_grad()
    def init_own(self, layer: int, layers: int, generator: torch.Generator) -> None:
        """Set decays: slow, with steps spread evenly on a log scale over the heads, or drawn."""
        if not self.gated:
            return
        low, high = map(math.log, _DRAWN_STEPS if self.drawn else _SLOW_STEPS)
        places = torch.linspace(0, 1, self.head_count)
        self.A_log.zero_()
        if self.drawn:
            rates, places = torch.rand((2, self.head_count), generator=generator)
            # A uniform number may be 0.
            self.A_log.copy_(torch.log((1 - rates) * _DRAWN_RATE))
        steps = torch.exp(low + (high - low) * places)
        self.dt_bias.copy_(steps + torch.log(-torch.expm1(-steps)))
