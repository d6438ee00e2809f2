"""Training and scoring on diagnostic tasks: answers at the queried positions only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqlab.data.diagnostic import Answers, Batch
from seqlab.models.sequence_model import SequenceModel
from seqlab.training.losses import Loss
from seqlab.training.precision import autocast


def as_tensors(batch: Batch, weights: np.ndarray | None = None) -> dict[str, Tensor]:
    """Return a batch as the tensors that the training loop shares out.

    Args:
        batch: The batch.
        weights: (B, T) how much the answer at each position counts; all alike unless told.
    """
    tensors = {
        "input_ids": torch.from_numpy(batch.input_ids),
        "labels": torch.from_numpy(batch.labels),
    }
    if weights is not None:
        tensors["weights"] = torch.from_numpy(weights).float()
    return tensors


def answers_loss(model: nn.Module, batch: Mapping[str, Tensor], _step: int) -> Loss:
    """Return the weighted mean cross-entropy of the answers in nats.

    Head and last MLP see the queried positions alone: with a large vocabulary all others cost more
    than the rest of the model.

    Args:
        model: A `SequenceModel`.
        batch: `input_ids` and `labels` (B, T) int64, and, where answers count unequally, `weights`.
    """
    asked = batch["labels"] >= 0
    hidden = model(batch["input_ids"], at=asked)
    each = functional.cross_entropy(
        _head(model, hidden).float(), batch["labels"][asked], reduction="none"
    )
    if "weights" not in batch:
        return Loss(each.mean(), weight=float(each.numel()))
    weights = batch["weights"][asked]
    return Loss((each * weights).sum() / weights.sum(), weight=weights.sum())


def answer(
    model: nn.Module,
    batch: Batch,
    *,
    batch_tokens: int = 1 << 14,
    precision: str = "fp32",
    allowed: tuple[int, int] | None = None,
) -> Answers:
    """Let a model answer every query of a batch.

    Args:
        model: A `SequenceModel`; it is evaluated in evaluation mode and put back into the mode it
            was in.
        batch: Sequences and queries.
        batch_tokens: Most tokens of one forward pass (at least one sequence).
        precision: `fp32`, or `bf16` autocast.
        allowed: First id and one past the last of those that `Answers.among` is chosen from.
    """
    device = next(model.parameters()).device
    rows = max(1, batch_tokens // batch.input_ids.shape[1])
    nll, predictions, among = [], [], []
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, device):
            for first in range(0, len(batch.input_ids), rows):
                ids, labels = (
                    torch.from_numpy(part[first : first + rows]).to(device)
                    for part in (batch.input_ids, batch.labels)
                )
                logits = _head(model, model(ids, at=labels >= 0)).double()
                wanted = labels[labels >= 0]
                nll.append(functional.cross_entropy(logits, wanted, reduction="none").cpu())
                predictions.append(logits.argmax(-1).cpu())
                if allowed is not None:
                    among.append(allowed[0] + logits[:, slice(*allowed)].argmax(-1).cpu())
    finally:
        model.train(was_training)
    where = np.nonzero(batch.asked)
    return Answers(
        nll=torch.cat(nll).numpy(),
        predictions=torch.cat(predictions).numpy(),
        labels=batch.labels[where],
        rows=where[0],
        positions=where[1],
        among=torch.cat(among).numpy() if among else None,
    )


def _head(model: nn.Module, hidden: Tensor) -> Tensor:
    # Compiled and distributed models wrap the one that has the head.
    for wrapped in ("module", "_orig_mod"):
        model = getattr(model, wrapped, model)
    if not isinstance(model, SequenceModel):
        raise TypeError(f"answers need a SequenceModel, not {type(model).__name__}")
    return model.head(hidden)
