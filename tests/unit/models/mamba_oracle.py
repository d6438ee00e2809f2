"""A Mamba written token by token from its equations, for tests only; any float type, no kernels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlab.models.mamba_config import MambaConfig


def odd_config(**changes: Any) -> MambaConfig:
    """A small model of odd sizes: hidden 25, inner 75, state 5, rank 3, two layers."""
    shape = {
        "vocab_size": 31,
        "hidden_size": 25,
        "expand": 3,
        "state_size": 5,
        "time_step_rank": 3,
        "num_hidden_layers": 2,
    }
    return MambaConfig(**(shape | changes))


class OracleMixer(nn.Module):
    def __init__(self, c: MambaConfig, layer: int) -> None:
        super().__init__()
        inner, self.split = c.inner_size(layer), (c.step_rank, c.state_size, c.state_size)
        self.in_proj = nn.Linear(c.hidden_size, 2 * inner, bias=c.use_bias)
        self.conv1d = nn.Conv1d(inner, inner, c.conv_kernel, groups=inner, bias=c.use_conv_bias)
        self.x_proj = nn.Linear(inner, sum(self.split), bias=False)
        self.dt_proj = nn.Linear(c.step_rank, inner)
        self.A_log = nn.Parameter(torch.empty(inner, c.state_size))
        self.D = nn.Parameter(torch.empty(inner))
        self.out_proj = nn.Linear(inner, c.hidden_size, bias=c.use_bias)

    def forward(self, h: Tensor) -> Tensor:
        x, gate = self.in_proj(h).chunk(2, dim=-1)
        taps = self.conv1d.weight[:, 0]
        padded = F.pad(x, (0, 0, taps.shape[1] - 1, 0))
        x = sum(taps[:, k] * padded[:, k : k + h.shape[1]] for k in range(taps.shape[1]))
        x = F.silu(x if self.conv1d.bias is None else x + self.conv1d.bias)
        dt, b, c = self.x_proj(x).split(self.split, dim=-1)
        dt, a = F.softplus(self.dt_proj(dt)), -self.A_log.exp()
        state, outputs = 0, []
        for t in range(h.shape[1]):
            step, u = dt[:, t, :, None], x[:, t, :, None]
            state = (step * a).exp() * state + step * b[:, t, None] * u
            outputs.append((state * c[:, t, None]).sum(-1) + self.D * x[:, t])
        return self.out_proj(torch.stack(outputs, dim=1) * F.silu(gate))


class OracleBlock(nn.Module):
    def __init__(self, c: MambaConfig, layer: int) -> None:
        super().__init__()
        self.norm, self.mixer = nn.RMSNorm(c.hidden_size, eps=1e-5), OracleMixer(c, layer)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.mixer(self.norm(h))


class OracleMamba(nn.Module):
    """Parameter names of transformers' MambaForCausalLM; no tensor symmetric in any index."""

    def __init__(self, config: MambaConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, h = config, config.hidden_size
        self.backbone = nn.Module()
        self.backbone.embeddings = nn.Embedding(config.vocab_size, h)
        self.backbone.layers = nn.ModuleList(
            OracleBlock(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.backbone.norm_f = nn.RMSNorm(h, eps=1e-5)
        self.lm_head = nn.Linear(h, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.backbone.embeddings.weight
        randomize(self, torch.Generator().manual_seed(seed))

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        h = self.backbone.embeddings(input_ids)
        for block in self.backbone.layers:
            h = block(h)
        return SimpleNamespace(logits=self.lm_head(self.backbone.norm_f(h)))


def randomize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw every parameter so that each index of each tensor matters to the logits."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            if parameter.ndim == 1:
                parameter.copy_(0.5 + 0.5 * noise)
            else:
                parameter.copy_(1.5 * noise / parameter[0].numel() ** 0.5)


def fixed_inputs(config: MambaConfig, n: int = 8, length: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(99)
    return torch.randint(config.vocab_size, (n, length), generator=generator)
