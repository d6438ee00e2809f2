"""What a loss function returns, and the next-token loss of language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from seqlab.kernels.cross_entropy import cross_entropy


@dataclass(frozen=True)
class Loss:
    """The loss of one (micro-)batch.

    Attributes:
        total: Scalar to differentiate: a mean over `weight` units, added terms included.
        weight: Units the mean is over (supervised tokens, items). Micro-batches and processes are
            averaged in proportion to it; None weighs by the rows of the batch.
        terms: Detached scalars to log, each a mean over the same units.
    """

    total: Tensor
    weight: Tensor | float | None = None
    terms: Mapping[str, Tensor] = field(default_factory=dict)


def next_token_loss(model: nn.Module, windows: Tensor, _step: int) -> Loss:
    """Return the mean next-token cross-entropy in nats.

    Args:
        model: A causal language model whose output has `logits` of shape (B, T, V).
        windows: (B, T + 1) int64; token t is predicted from the tokens before it.
    """
    logits = model(windows[:, :-1].contiguous()).logits
    targets = windows[:, 1:].contiguous()
    return Loss(cross_entropy(logits, targets, backend="numba"), weight=float(targets.numel()))
