"""Time mixing of RWKV-7: a delta rule with a decay and a rate per channel (Peng et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.kernels import linear_attention
from seqlab.kernels.chunked import GENERALIZED_GATE_MIN
from seqlab.models.mamba import Projection
from seqlab.models.mixers.base import (
    UNIT_EPSILON,
    LocalMixing,
    Memory,
    Mixed,
    Mixer,
    ShortConvs,
    heads,
    joined_heads,
)

# Exponents of the initial token shift of receptance, decay, key, value, rate and gate.
_SHIFTS = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}
_RANK, _GATE_RANK = 16, 32


class LowRank(nn.Module):
    """B f(A x) + b with a narrow middle."""

    def __init__(self, width: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        self.down = Projection(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=bias)

    def forward(self, x: Tensor, middle: str = "none") -> Tensor:
        """Map (..., D) to (..., D); `middle` names what is applied between."""
        functions = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}
        narrow = self.down(x)
        return self.up(functions[middle](narrow) if middle in functions else narrow)


class Rwkv7(Mixer):
    """Time mixing of one layer; its first layer hands its values to all later ones.

    Without local mixing its token shift is off; with convolutions everywhere it keeps its shift,
    and receptance, key and value have convolutions as well.
    """

    def __init__(self, width: int, head_count: int, local: LocalMixing, *, layer: int) -> None:
        super().__init__()
        self.head_count, self.layer, self.shifted = head_count, layer, local != "none"
        self.mu = nn.ParameterDict({name: torch.zeros(width) for name in _SHIFTS})
        self.r_proj = Projection(width, width, bias=False)
        self.k_proj = Projection(width, width, bias=False)
        self.v_proj = Projection(width, width, bias=False)
        self.convs = ShortConvs((width,) * 3, active=local == "all")
        self.decay = LowRank(width, _RANK)
        self.rate = LowRank(width, _RANK)
        self.value = LowRank(width, _RANK) if layer else None
        self.gate = LowRank(width, _GATE_RANK, bias=False)
        self.k_k = nn.Parameter(torch.zeros(width))
        self.k_a = nn.Parameter(torch.zeros(width))
        self.r_k = nn.Parameter(torch.zeros(head_count, width // head_count))
        self.norm = nn.GroupNorm(head_count, width, eps=width // head_count * 1e-5)
        self.out_proj = Projection(width, width, bias=False)

    def forward(
        self, x: Tensor, memory: Memory | None = None, start: int = 0, first: Tensor | None = None
    ) -> Mixed:
        """Mix by the generalised delta rule; see `Mixer.forward`."""
        difference = torch.zeros_like(x)
        if self.shifted:
            before = x.new_zeros(x.shape[0], 1, x.shape[2]) if memory is None else memory[1]
            difference = torch.cat((before, x[:, :-1]), 1) - x
        x_of = {name: x + mu * difference for name, mu in self.mu.items()}
        projected = (self.r_proj(x_of["r"]), self.k_proj(x_of["k"]), self.v_proj(x_of["v"]))
        (r, k, v), past = self.convs(projected, None if memory is None else memory[2:])
        rate = self.rate(x_of["a"]).sigmoid()
        if self.value is None:
            first = v
        else:
            assert first is not None, "later layers need the values of the first"
            v = torch.lerp(v, first, self.value(x_of["v"]).sigmoid())
        w = GENERALIZED_GATE_MIN * self.decay(x_of["w"], "tanh").sigmoid()
        removed = functional.normalize(
            heads(k * self.k_k, self.head_count), dim=-1, eps=UNIT_EPSILON
        )
        k = k * (1 + (rate - 1) * self.k_a)
        r, k, v, w, rate = (heads(part, self.head_count) for part in (r, k, v, w, rate))
        state = None if memory is None else memory[0]
        y, state = linear_attention.generalized_delta(r, k, v, -removed, removed * rate, w, state)
        own = (r * k * self.r_k[:, None]).sum(-1, keepdim=True) * v
        normed = self.norm(joined_heads(y).flatten(0, 1)).unflatten(0, x.shape[:2])
        out = (normed + joined_heads(own)) * self.gate(x_of["g"], "sigmoid")
        last = x[:, -1:] if self.shifted else x[:, :0]
        return Mixed(self.out_proj(out), (state, last, *past), first)

    def state_size(self, length: int) -> int:
        """Return the numbers of the matrix states and of the last input."""
        width = self.out_proj.in_features
        return width**2 // self.head_count + (width if self.shifted else 0) + self.convs.kept

    @torch.no_grad()
    def init_own(self, layer: int, layers: int, generator: torch.Generator) -> None:
        """Set shifts, decays, rates and scales as the authors do.

        Decay, rate, gate and value start as their biases alone, and the output at 0.
        """
        width = self.out_proj.in_features
        place = torch.arange(width) / width
        linear = torch.arange(width) / (width - 1) - 0.5
        inside = width // self.head_count
        z = torch.arange(width) % inside / (inside - 1) * 2 - 1
        zigzag = z * z.abs()
        remaining, depth = 1 - layer / layers, layer / max(1, layers - 1)
        for name, power in _SHIFTS.items():
            self.mu[name].copy_(1 - place ** (power * remaining))
        curve = (linear + 0.5) ** (1 + depth**0.3)
        self.decay.up.bias.copy_(-6 + 6 * curve + 0.5 + 2.5 * zigzag)
        self.rate.up.bias.copy_(-0.19 + 0.3 * zigzag + 0.4 * linear)
        if self.value is not None:
            self.value.up.bias.copy_(0.73 - 0.4 * linear)
        self.k_k.copy_(0.71 - 0.1 * linear)
        self.k_a.fill_(1.02)
        self.r_k.fill_(-0.04)
        for projection, gain in ((self.r_proj, 1.0), (self.v_proj, 1.0), (self.k_proj, 0.1)):
            drawn = torch.randn(width, width, generator=generator)
            projection.weight.copy_(gain * torch.linalg.qr(drawn)[0])
        self.out_proj.weight.zero_()
        self.norm.weight.fill_(((layer + 1) / layers) ** 0.7)
        for narrow in (self.decay, self.rate, self.value, self.gate):
            if narrow is not None:
                drawn = torch.randn(narrow.up.weight.shape, generator=generator)
                narrow.up.weight.copy_(0.1 * torch.linalg.qr(drawn)[0])
                narrow.down.weight.zero_()
