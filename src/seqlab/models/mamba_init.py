"""Initial weights of a Mamba language model, as transformers draws them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqlab.models.mamba import MambaForCausalLM, MambaMixer
from seqlab.models.mamba_config import MambaConfig


@torch.no_grad()
def init_weights(model: MambaForCausalLM, seed: int) -> MambaForCausalLM:
    """Draw every weight anew from one seed, with the distributions of transformers.

    Embeddings and in_proj, x_proj: normal with `initializer_range`. conv1d and out_proj: Kaiming
    uniform with a = sqrt(5). dt_proj: uniform, and a bias whose softplus is log-uniform in
    [time_step_min, time_step_max]. A = -(1, ..., N) (S4D-real), D = 1, norms 1, other biases 0.
    Draws are made in float32 on the CPU, so they depend neither on device nor on type.

    Args:
        model: The model whose weights are replaced.
        seed: Seed of the generator.

    Returns:
        The same model.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    _normal(model.backbone.embeddings.weight, config.initializer_range, generator)
    for block in model.blocks():
        block.norm.weight.fill_(1.0)
        init_mixer(block.mixer, config, generator)
    model.backbone.norm_f.weight.fill_(1.0)
    if not config.tie_word_embeddings:
        _normal(model.lm_head.weight, config.initializer_range, generator)
    return model


@torch.no_grad()
def init_mixer(mixer: MambaMixer, config: MambaConfig, generator: torch.Generator) -> None:
    """Draw the weights of one mixer anew; see `init_weights`."""
    _normal(mixer.in_proj.weight, config.initializer_range, generator)
    init_convolution(mixer, generator)
    _normal(mixer.x_proj.weight, config.initializer_range, generator)
    init_states(mixer, config, generator)
    layers = config.num_hidden_layers
    scale = 1 / math.sqrt(layers) if config.rescale_prenorm_residual else 1.0
    _kaiming(mixer.out_proj.weight, scale, generator)
    for module in (mixer.in_proj, mixer.out_proj):
        if module.bias is not None:
            module.bias.zero_()


@torch.no_grad()
def init_convolution(mixer: MambaMixer, generator: torch.Generator) -> None:
    """Draw the convolution of one mixer anew; see `init_weights`."""
    _kaiming(mixer.conv1d.weight, 1.0, generator)
    if mixer.conv1d.bias is not None:
        mixer.conv1d.bias.zero_()


@torch.no_grad()
def init_states(mixer: MambaMixer, config: MambaConfig, generator: torch.Generator) -> None:
    """Draw steps, state matrix and skip of one mixer anew; see `init_weights`."""
    bound = config.step_rank**-0.5 * config.time_step_scale
    if config.time_step_init_scheme == "constant":
        mixer.dt_proj.weight.fill_(bound)
    else:
        _uniform(mixer.dt_proj.weight, bound, generator)
    mixer.dt_proj.bias.copy_(_step_bias(mixer.D.shape[0], config, generator))
    states = torch.arange(1, mixer.A_log.shape[1] + 1, dtype=torch.float32)
    mixer.A_log.copy_(torch.log(states).expand_as(mixer.A_log))
    mixer.D.fill_(1.0)


def _step_bias(channels: int, config: MambaConfig, generator: torch.Generator) -> Tensor:
    """Return the inverse softplus of steps drawn log-uniformly."""
    low, high = math.log(config.time_step_min), math.log(config.time_step_max)
    steps = torch.exp(torch.rand(channels, generator=generator) * (high - low) + low)
    steps = steps.clamp(min=config.time_step_floor)
    return steps + torch.log(-torch.expm1(-steps))


def _normal(weight: Tensor, deviation: float, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)


def _uniform(weight: Tensor, bound: float, generator: torch.Generator) -> None:
    weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * bound)


def _kaiming(weight: Tensor, scale: float, generator: torch.Generator) -> None:
    """Draw uniformly within 1 / sqrt(fan in), which is Kaiming's bound for a = sqrt(5)."""
    fan_in = weight[0].numel()
    _uniform(weight, scale / math.sqrt(fan_in), generator)
