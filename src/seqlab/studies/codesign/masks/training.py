"""Train masks (HDS) or masked weights of a language model, and export them.

All variants run through one loop on the same batches: they differ in what may change. Magnitude
masks are learned masks whose logits are frozen at their start and drawn without noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqlab.models import hds
from seqlab.models.masks import Pattern, grouped, magnitude_mask
from seqlab.models.sparse_linear import weight_matrix
from seqlab.studies.codesign.masks.spec import HDS, MAGNITUDE_TUNED, TrainMasksSpec
from seqlab.training.callbacks import Callback, Progress
from seqlab.training.checkpoint import Checkpoints
from seqlab.training.loop import Job, TrainResult, train
from seqlab.training.losses import next_token_loss

_PROJECTIONS = ("in_proj", "out_proj")


def projections(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the projections of all mixers, in order."""
    return tuple(
        name for name, _ in model.named_modules() if name.rpartition(".")[2] in _PROJECTIONS
    )


class Anneal(Callback):
    """Sets temperature and noise of every mask, a function of the step alone."""

    def __init__(self, temperature: tuple[float, float], seed: int) -> None:
        self._temperature, self._seed = temperature, seed

    def on_step_start(self, progress: Progress) -> None:
        """Set what the coming step uses."""
        hds.schedule(progress.model, progress.step, progress.steps, *self._temperature, self._seed)


@dataclass(frozen=True)
class Trained:
    """A trained variant; the model has plain weights with zeros.

    Attributes:
        result: Of the training loop.
        masks: Layer -> mask (O, I) of booleans.
        changed: Layer -> share of groups whose mask is not that of the initial magnitudes.
        skipped: Projections whose inputs are no multiple of M; they stay dense.
    """

    result: TrainResult
    masks: dict[str, Tensor]
    changed: dict[str, float]
    skipped: tuple[str, ...]


def train_variant(
    model: nn.Module,
    spec: TrainMasksSpec,
    batch_at: Callable[[int], Any],
    checkpoints: Checkpoints | None,
) -> Trained:
    """Train one variant, in place; a killed run resumes from its checkpoint.

    Args:
        model: The trained dense model.
        spec: Settings.
        batch_at: Step -> windows (B, T + 1), a pure function.
        checkpoints: Where to save and resume.

    Raises:
        UserError: No projection can carry the pattern, or training diverged.
    """
    pattern = Pattern.parse(spec.pattern)
    names, skipped = _maskable(model, pattern)
    start = {name: _magnitude(model, name, pattern) for name in names}
    if spec.variant == HDS:
        model.requires_grad_(False)
    masks = hds.attach(model, names, pattern)
    callbacks: list[Callback] = []
    if spec.variant == MAGNITUDE_TUNED:
        for mask in masks.values():
            mask.theta.requires_grad_(False)
    else:
        callbacks.append(Anneal(spec.temperature, spec.train.seed))
    job = Job(
        batch_at=batch_at,
        loss_fn=next_token_loss,
        callbacks=callbacks,
        checkpoints=checkpoints,
        tokens_per_step=spec.batch * spec.length,
    )
    result = train(model, spec.training(), job)
    hard = hds.harden(model, masks)
    model.requires_grad_(True).eval()
    changed = {
        name: float((grouped(hard[name] ^ start[name], pattern.group)).any(-1).double().mean())
        for name in names
    }
    return Trained(result, hard, changed, skipped)


def _maskable(model: nn.Module, pattern: Pattern) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the projections that can carry the pattern, and the others."""
    every = projections(model)
    fits = tuple(
        name
        for name in every
        if weight_matrix(model.get_submodule(name)).shape[1] % pattern.group == 0
    )
    return fits, tuple(name for name in every if name not in fits)


def _magnitude(model: nn.Module, name: str, pattern: Pattern) -> Tensor:
    with torch.no_grad():
        return magnitude_mask(weight_matrix(model.get_submodule(name)), pattern)
