"""HDS: N:M masks learned by gradient descent on the task.

Every group of M inputs has logits theta; the mask of a training step keeps the N highest of
(theta + g) / tau with Gumbel noise g, and its gradient is that of p = softmax((theta + g) / tau):
the straight-through estimate m + p - stopgrad(p) (Jang et al. 2017; Zhou et al. 2021). theta starts
at the standardised log magnitude of the weight, so that step 0 without noise is the magnitude mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seqlab.errors import UserError
from seqlab.models.masks import Pattern, density, grouped, keep_top

# Uniform draws are kept off 0 and 1, where Gumbel noise is infinite.
_EDGE = 1e-6
_SMALLEST = 1e-30


class LearnedMask(nn.Module):
    """A parametrisation of a weight (O, I) by an N:M mask.

    Attributes:
        theta: Logits (O, I / M, M).
        temperature: tau.
        sampling: Whether noise is added in training mode; otherwise the mask is that of theta.
        generator_seed: Seed of the noise of the current step.
    """

    def __init__(self, weight: Tensor, pattern: Pattern) -> None:
        super().__init__()
        if pattern.kind != "n_of_m":
            raise UserError(f"HDS learns N:M masks, not {pattern.kind}")
        logs = grouped(weight.detach(), pattern.group).abs().clamp_min(_SMALLEST).log()
        spread = logs.std().clamp_min(_SMALLEST)
        self.theta = nn.Parameter((logs - logs.mean()) / spread)
        self.pattern = pattern
        self.temperature = 1.0
        self.sampling = False
        self.generator_seed = 0

    def forward(self, weight: Tensor) -> Tensor:
        """Return the masked weight (O, I)."""
        scores: Tensor = self.theta
        if self.sampling and self.training:
            generator = torch.Generator(scores.device).manual_seed(self.generator_seed)
            uniform = torch.rand(scores.shape, generator=generator, device=scores.device)
            scores = scores - (-uniform.clamp(_EDGE, 1 - _EDGE).log()).log()
        scores = scores / self.temperature
        hard = keep_top(scores.detach(), self.pattern.keep).to(weight.dtype)
        soft = scores.softmax(-1)
        mask = hard + soft - soft.detach()
        return weight * mask.reshape(weight.shape)

    def hard_mask(self) -> Tensor:
        """Return the mask (O, I) of booleans without noise."""
        kept = keep_top(self.theta.detach(), self.pattern.keep)
        return kept.reshape(kept.shape[0], -1)


def attach(model: nn.Module, names: tuple[str, ...], pattern: Pattern) -> dict[str, LearnedMask]:
    """Put learned masks on the weights of linear layers, in place.

    Args:
        model: The model.
        names: Names of the layers.
        pattern: An N:M pattern.

    Returns:
        Layer name -> its mask.

    Raises:
        UserError: A layer is not linear, or its inputs are not a multiple of M.
    """
    masks = {}
    for name in names:
        layer = _linear(model, name)
        try:
            mask = LearnedMask(layer.weight, pattern)
        except UserError as error:
            raise UserError(error.what, where=name, fix="leave this layer out") from error
        parametrize.register_parametrization(layer, "weight", mask)
        masks[name] = mask
    return masks


def _linear(model: nn.Module, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise UserError(
            f"a learned mask needs a linear layer, not {type(layer).__name__}", where=name
        )
    return layer


def learned_masks(model: nn.Module) -> Iterator[LearnedMask]:
    """Yield the masks attached to a model."""
    yield from (module for module in model.modules() if isinstance(module, LearnedMask))


def schedule(model: nn.Module, step: int, steps: int, start: float, end: float, seed: int) -> None:
    """Set temperature (linear from start to end) and noise of one training step, in place.

    Args:
        model: A model with masks.
        step: The step about to be taken, from 0.
        steps: Number of steps.
        start: Temperature of the first step.
        end: Temperature of the last step.
        seed: Of the noise; each step and mask draws its own.
    """
    progress = step / max(steps - 1, 1)
    for index, mask in enumerate(learned_masks(model)):
        mask.temperature = start + (end - start) * progress
        mask.sampling = True
        entropy = np.random.SeedSequence([seed, step, index])
        mask.generator_seed = int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))


def harden(model: nn.Module, masks: dict[str, LearnedMask]) -> dict[str, Tensor]:
    """Replace learned masks by plain weights with zeros, in place.

    Returns:
        Layer name -> mask (O, I) of booleans.
    """
    hard = {}
    for name, mask in masks.items():
        layer: Any = _linear(model, name)
        mask.sampling = False
        hard[name] = mask.hard_mask()
        original = layer.parametrizations.weight.original.detach()
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        with torch.no_grad():
            layer.weight.copy_(original * hard[name])
    return hard


def achieved_sparsity(masks: dict[str, Tensor]) -> float:
    """Return the share of masked elements that are zero, over all layers."""
    total = sum(mask.numel() for mask in masks.values())
    return 1.0 - sum(density(mask) * mask.numel() for mask in masks.values()) / total
