"""One skeleton for every architecture: the mixer is all that differs.

Token embedding, tied with the head; layers x += mixer(norm(x)), x += mlp(norm(x)) with a SwiGLU of
a width that makes the parameters of all architectures equal; a last norm. Learned positions are
added to the embedding of the vanilla Transformer alone, fixed ones to that of its control.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.errors import UserError
from seqlab.kernels.linear import linear
from seqlab.models.mamba import Projection, RMSNorm
from seqlab.models.mixers.base import NORM_EPSILON, LocalMixing, Memory, Mixed, ShortConv
from seqlab.models.mixers.registry import make_mixer

INIT_STD = 0.02
_SINUSOID_BASE = 10_000.0
# Widths of the MLP are multiples of this.
_MLP_MULTIPLE = 8


@dataclass(frozen=True)
class SequenceModelConfig:
    """The shape of a model.

    Attributes:
        architecture: Name of its mixer.
        vocab_size: Ids.
        width: Width D.
        layers: Layers L.
        heads: Heads H.
        layer_parameters: What mixer and MLP of a layer have together, on average; the width of the
            MLP follows from it.
        local: Short convolutions and token shifts.
        positions: Learned positions of the vanilla Transformer.
        frozen_embeddings: Whether embeddings stay the random directions that they start as, so that
            ids which training never shows mean as much as all others.
        embedding_std: Standard deviation of initial embeddings and positions.
        linear_std: The same of matrices; 0.02 is for wide models. In narrow ones it leaves
            attention flat and what layers write lost beside the embedding.
    """

    architecture: str
    vocab_size: int
    width: int = 128
    layers: int = 2
    heads: int = 2
    layer_parameters: int = 160_000
    local: LocalMixing = "native"
    positions: int = 0
    frozen_embeddings: bool = False
    embedding_std: float = INIT_STD
    linear_std: float = INIT_STD

    def __post_init__(self) -> None:
        if self.local not in ("native", "all", "none"):
            raise UserError(f"unknown local mixing {self.local!r}", fix="native, all or none")
        if min(self.embedding_std, self.linear_std) <= 0:
            raise UserError("standard deviations of initial weights must be above 0")
        if min(self.vocab_size, self.width, self.layers, self.heads) < 1:
            raise UserError("vocabulary, width, layers and heads must be at least 1")


@dataclass
class SequenceState:
    """What a model remembers of a prefix.

    Attributes:
        length: Tokens of the prefix.
        memories: One per layer.
    """

    length: int = 0
    memories: list[Memory | None] = field(default_factory=list)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), without biases."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = Projection(width, inner, bias=False)
        self.up = Projection(width, inner, bias=False)
        self.down = Projection(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Norm, mixer, norm, MLP, each around a residual."""

    def __init__(self, config: SequenceModelConfig, layer: int, inner: int) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(config.width, NORM_EPSILON)
        self.mixer = make_mixer(
            config.architecture, config.width, config.heads, config.local, layer
        )
        self.mlp_norm = RMSNorm(config.width, NORM_EPSILON)
        self.mlp = SwiGLU(config.width, inner)

    def forward(
        self,
        hidden: Tensor,
        memory: Memory | None,
        start: int,
        first: Tensor | None,
        at: Tensor | None = None,
    ) -> Mixed:
        """Return the residual stream (B, T, D) after mixer and MLP; see `Mixer.forward`.

        Where `at` (B, T) says which positions are wanted, those alone (N, D): nothing else needs
        the MLP of a last layer.
        """
        mixed = self.mixer(self.mixer_norm(hidden), memory, start, first)
        hidden = hidden + mixed.output
        if at is not None:
            hidden = hidden[at]
        return Mixed(hidden + self.mlp(self.mlp_norm(hidden)), mixed.memory, mixed.first)


class SequenceModel(nn.Module):
    """A causal model of one architecture.

    Attributes:
        config: The shape.
    """

    def __init__(self, config: SequenceModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.Embedding(
            config.vocab_size, config.width, _weight=torch.zeros(config.vocab_size, config.width)
        )
        self.embeddings.weight.requires_grad_(not config.frozen_embeddings)
        self.positions = None
        if config.architecture == "vanilla":
            self.positions = nn.Embedding(
                config.positions, config.width, _weight=torch.zeros(config.positions, config.width)
            )
        inner = mlp_width(config)
        self.blocks = nn.ModuleList(Block(config, layer, inner) for layer in range(config.layers))
        self.norm = RMSNorm(config.width, NORM_EPSILON)

    def forward(
        self, input_ids: Tensor, state: SequenceState | None = None, at: Tensor | None = None
    ) -> Tensor:
        """Return the last hidden states (B, T, D) of tokens (B, T); `head` scores them.

        Args:
            input_ids: Tokens.
            state: Where to continue from; advanced to after the last token.
            at: (B, T) true at the N positions whose states are wanted, (N, D); all unless told.

        Raises:
            UserError: A learned position is needed that there is not.
        """
        start = 0 if state is None else state.length
        before = None if state is None else state.memories
        memories: list[Memory | None] = []
        hidden = self.embeddings(input_ids)
        if self.positions is not None:
            hidden = hidden + self._positions(self.positions, start, input_ids.shape[1])
        elif self.config.architecture == "vanilla_sin":
            size = self.config.embedding_std
            hidden = hidden + sinusoids(start, input_ids.shape[1], hidden, size)
        first, last = None, len(self.blocks) - 1
        memory_of = before or [None] * len(self.blocks)
        for layer, (block, memory) in enumerate(zip(self.layers(), memory_of, strict=True)):
            wanted = at if layer == last else None
            hidden, kept, first = block(hidden, memory, start, first, wanted)
            memories.append(kept)
        if state is not None:
            state.length, state.memories = start + input_ids.shape[1], memories
        return self.norm(hidden)

    def layers(self) -> Iterator[Block]:
        """Yield the blocks, the first one first."""
        yield from cast("Iterable[Block]", self.blocks)

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) of hidden states (..., D), in the precision of the weights.

        Not in that of autocast: in bf16 neighbouring logits of 8 are 0.06 apart, and the best two
        of a large vocabulary often tie.
        """
        weight = self.embeddings.weight
        with torch.autocast(hidden.device.type, enabled=False):
            return linear(hidden.to(weight.dtype), weight, None)

    @staticmethod
    def _positions(table: nn.Embedding, start: int, length: int) -> Tensor:
        if start + length > table.num_embeddings:
            raise UserError(
                f"{start + length} tokens, but {table.num_embeddings} learned positions",
                fix="allocate positions for the longest sequence that is tested",
            )
        return table.weight[start : start + length]


def sinusoids(start: int, length: int, like: Tensor, size: float) -> Tensor:
    """Return fixed positions (T, D) of type and device of `like` (..., D) (Vaswani et al. 2017).

    Their root mean square is `size`, that of learned ones at their start: at 0.7 they would drown
    the tokens.
    """
    half = like.shape[-1] // 2
    rates = _SINUSOID_BASE ** (-torch.arange(half, device=like.device, dtype=torch.float32) / half)
    at = torch.arange(start, start + length, device=like.device, dtype=torch.float32)
    angles = at[:, None] * rates
    both = torch.cat((angles.sin(), angles.cos()), -1)
    return (math.sqrt(2) * size * both).to(like.dtype)


def mlp_width(config: SequenceModelConfig) -> int:
    """Return the MLP's width h at which a layer has `layer_parameters`, a multiple of 8.

    The native mixers count: what a switched local mixing adds or takes away is not made up for.
    """
    with torch.device("meta"):
        mixers = [
            make_mixer(config.architecture, config.width, config.heads, "native", layer)
            for layer in range(config.layers)
        ]
    mean = sum(p.numel() for mixer in mixers for p in mixer.parameters()) / config.layers
    wanted = (config.layer_parameters - mean) / (3 * config.width * _MLP_MULTIPLE)
    if round(wanted) < 1:
        raise UserError(
            f"{config.layer_parameters} parameters per layer leave the {config.architecture} mixer "
            f"of {mean:.0f} no MLP"
        )
    return _MLP_MULTIPLE * round(wanted)


def parameter_counts(model: SequenceModel) -> dict[str, int]:
    """Return `total` and `non_embedding` parameters; positions count as embedding."""
    total = sum(p.numel() for p in model.parameters())
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    return {
        "total": total,
        "non_embedding": total - sum(table.weight.numel() for table in tables),
    }


@torch.no_grad()
def init_sequence_model(model: SequenceModel, seed: int) -> SequenceModel:
    """Draw every weight anew from one seed; returns the same model.

    Embeddings, positions and matrices: normal with the deviations of the config (frozen embeddings:
    of the norm that these have on average, in random directions), what writes into the residual
    with that of matrices / sqrt(2 L); short convolutions: uniform as PyTorch's; biases 0, norms 1;
    then what mixers set themselves. Draws are made in float32 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(weight: Tensor, std: float) -> None:
        weight.copy_(std * torch.randn(weight.shape, generator=generator))

    config = model.config
    residual = config.linear_std / math.sqrt(2 * config.layers)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            normal(module.weight, config.embedding_std)
            if config.frozen_embeddings and module is model.embeddings:
                length = config.embedding_std * math.sqrt(config.width)
                module.weight.mul_(length / module.weight.norm(dim=1, keepdim=True))
        elif isinstance(module, nn.Linear):
            written = name.endswith(("out_proj", "mlp.down"))
            normal(module.weight, residual if written else config.linear_std)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, RMSNorm | nn.GroupNorm):
            nn.init.ones_(module.weight)
            if isinstance(module, nn.GroupNorm):
                nn.init.zeros_(module.bias)
        elif isinstance(module, ShortConv) and module.weight is not None:
            bound = module.weight.shape[1] ** -0.5
            drawn = torch.rand(module.weight.shape, generator=generator)
            module.weight.copy_((2 * drawn - 1) * bound)
    for layer, block in enumerate(model.layers()):
        block.mixer.init_own(layer, config.layers, generator)
    return model
