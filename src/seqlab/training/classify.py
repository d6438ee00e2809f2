"""Training and scoring of sentence classifiers: loss, held-out accuracy, F1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlab.data.examples import Batch, Examples
from seqlab.errors import UserError
from seqlab.training.losses import Loss
from seqlab.training.precision import autocast


@dataclass(frozen=True)
class Classified:
    """Scores of labelled examples.

    Attributes:
        nll: Negative log-likelihood of each example's class in nats, (E,) float64.
        predictions: Most likely class of each example, (E,) int64.
        labels: (E,) int64.
    """

    nll: np.ndarray
    predictions: np.ndarray
    labels: np.ndarray

    def metrics(self) -> dict[str, float]:
        """Return `loss` (mean nats), `accuracy` and `f1`."""
        return {"loss": float(self.nll.mean()), **class_metrics(self.predictions, self.labels)}


def class_metrics(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return `accuracy` and `f1` of predicted classes.

    F1 is that of class 1 where there are two classes, else the mean over the classes; a class that
    neither occurs nor is predicted counts as 0.

    Args:
        predictions: (E,) integers, E > 0.
        labels: (E,) integers.
    """
    classes = max(2, int(max(predictions.max(), labels.max())) + 1)
    each = []
    for label in range(classes):
        hits = int(((predictions == label) & (labels == label)).sum())
        named = int((predictions == label).sum()) + int((labels == label).sum())
        each.append(2 * hits / named if named else 0.0)
    return {
        "accuracy": float((predictions == labels).mean()),
        "f1": each[1] if classes == 2 else float(np.mean(each)),
    }


def as_tensors(batch: Batch) -> dict[str, Tensor]:
    """Return a batch as the tensors that the training loop shares out."""
    return {
        "input_ids": torch.from_numpy(batch.input_ids),
        "attention_mask": torch.from_numpy(batch.attention_mask),
        "labels": torch.from_numpy(batch.labels),
    }


def classification_loss(model: nn.Module, batch: dict[str, Tensor], _step: int) -> Loss:
    """Return the mean cross-entropy of the classes in nats.

    Args:
        model: A classifier whose output has `logits` of shape (B, C).
        batch: `input_ids` and `attention_mask` (B, T), `labels` (B,); int64.
    """
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return Loss(F.cross_entropy(logits.float(), batch["labels"]))


def evaluate_examples(
    model: nn.Module, examples: Examples, *, batch_tokens: int = 4096, precision: str = "fp32"
) -> Classified:
    """Score every example once, in batches of similar length.

    Args:
        model: See `classification_loss`; it is evaluated in evaluation mode and put back into the
            mode it was in.
        examples: What is scored.
        batch_tokens: Most tokens of one forward pass, padding included (at least one example).
        precision: `fp32`, or `bf16` autocast.

    Raises:
        UserError: There are no examples.
    """
    if not len(examples):
        raise UserError("there are no examples to score", fix="take more documents")
    device = next(model.parameters()).device
    logits = np.zeros((len(examples), examples.classes), np.float64)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, device):
            for indices in _similar(examples.lengths, batch_tokens):
                batch = as_tensors(examples.batch(indices))
                ids, mask = (batch[name].to(device) for name in ("input_ids", "attention_mask"))
                found = model(input_ids=ids, attention_mask=mask).logits
                logits[indices] = found.double().cpu().numpy()
    finally:
        model.train(was_training)
    top = logits.max(axis=1, keepdims=True)
    log_sums = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return Classified(
        nll=log_sums - logits[np.arange(len(examples)), examples.labels],
        predictions=logits.argmax(axis=1),
        labels=examples.labels,
    )


def _similar(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Yield all examples in groups of falling length."""
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        # The first of a group is its longest.
        count = max(1, batch_tokens // int(lengths[order[first]]))
        yield order[first : first + count]
        first += count
