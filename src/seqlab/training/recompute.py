"""Gradient checkpointing of any model made of blocks: activations for time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from seqlab.errors import UserError


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the elements of the outermost `nn.ModuleList`s of `model`: its layers."""
    found: list[nn.Module] = []
    for child in model.children():
        found.extend(child if isinstance(child, nn.ModuleList) else blocks(child))
    return found


@contextmanager
def recomputed(model: nn.Module) -> Iterator[None]:
    """Within this context each block keeps only its input and is run again in the backward pass.

    The random state is restored for the second run (the same dropout and gate noise). Parameter
    names do not change.

    Raises:
        UserError: The model has no `nn.ModuleList` to take blocks from.
    """
    layers = blocks(model)
    if not layers:
        raise UserError(
            f"gradient_checkpointing: {type(model).__name__} has no list of blocks",
            fix="set gradient_checkpointing to false",
        )
    for layer in layers:
        # An instance attribute shadows the class's forward; the module tree stays as it is.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
