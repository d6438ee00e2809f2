"""Held-out text: negative log-likelihood per window, bits per byte, perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.training.precision import autocast


@dataclass(frozen=True)
class HeldOut:
    """Scores of windows of text.

    Attributes:
        nll: Summed negative log-likelihood of each window in nats, shape (W,), float64.
        bytes: Bytes of text that each window's predicted tokens stand for, shape (W,), int64.
        tokens: Predicted tokens of each window, shape (W,), int64.
    """

    nll: np.ndarray
    bytes: np.ndarray
    tokens: np.ndarray

    @property
    def bits_per_byte(self) -> float:
        """Total nll / ln 2 / total bytes: comparable between tokenizers."""
        return float(self.nll.sum() / math.log(2) / self.bytes.sum())

    @property
    def loss(self) -> float:
        """Mean nats per token."""
        return float(self.nll.sum() / self.tokens.sum())

    @property
    def perplexity(self) -> float:
        """exp(loss), per token; comparable for one tokenizer only."""
        return math.exp(self.loss)

    def metrics(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return {
            "loss": self.loss,
            "bits_per_byte": self.bits_per_byte,
            "perplexity": self.perplexity,
        }


def evaluate_windows(
    model: nn.Module,
    windows: np.ndarray,
    token_bytes: np.ndarray,
    *,
    batch_tokens: int = 4096,
    precision: str = "fp32",
) -> HeldOut:
    """Score windows of equal length; token 0 of each window is context only.

    Args:
        model: A causal language model whose output has `logits` (B, T, V); it is evaluated in
            evaluation mode and put back into the mode it was in.
        windows: (W, T + 1) integer tokens.
        token_bytes: (V,) bytes of text per token; 0 for special tokens.
        batch_tokens: Most predicted tokens of one forward pass (at least one window).
        precision: `fp32`, or `bf16` autocast.

    Raises:
        UserError: The windows are empty or hold a token outside the vocabulary.
    """
    ids = torch.tensor(np.asarray(windows), dtype=torch.int64)
    _check(ids, len(token_bytes))
    device = next(model.parameters()).device
    rows = max(1, batch_tokens // (ids.shape[1] - 1))
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), autocast(precision, device):
            nll = [_nll(model, part.to(device)).cpu() for part in torch.split(ids, rows)]
    finally:
        model.train(was_training)
    targets = ids[:, 1:].numpy()
    return HeldOut(
        nll=torch.cat(nll).numpy(),
        bytes=np.asarray(token_bytes, dtype=np.int64)[targets].sum(axis=1),
        tokens=np.full(len(targets), targets.shape[1], dtype=np.int64),
    )


def evaluate_text(
    model: nn.Module,
    tokens: np.ndarray,
    token_bytes: np.ndarray,
    *,
    length: int,
    batch_tokens: int = 4096,
    precision: str = "fp32",
) -> HeldOut:
    """Score a whole text once: windows of `length` predicted tokens that do not overlap.

    Each window's first token is the last of the window before it, so every token but the text's
    first is predicted exactly once; the last window may be shorter.

    Args:
        model: See `evaluate_windows`.
        tokens: (N,) integer tokens, N > 1.
        token_bytes: See `evaluate_windows`.
        length: Predicted tokens per window.
        batch_tokens: See `evaluate_windows`.
        precision: See `evaluate_windows`.

    Raises:
        UserError: The text is shorter than two tokens.
    """
    parts = [
        evaluate_windows(
            model, windows, token_bytes, batch_tokens=batch_tokens, precision=precision
        )
        for windows in text_windows(tokens, length)
    ]
    if not parts:
        raise UserError(f"the text has {len(tokens)} tokens; at least 2 are needed")
    return HeldOut(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("nll", "bytes", "tokens")
        )
    )


def text_windows(tokens: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Yield the full windows of a text, (W, length + 1), then the shorter rest, (1, R + 1)."""
    full = (len(tokens) - 1) // length
    if full:
        starts = np.arange(full)[:, None] * length
        yield np.asarray(tokens)[starts + np.arange(length + 1)]
    rest = np.asarray(tokens[full * length :])
    if len(rest) > 1:
        yield rest[None]


def _nll(model: nn.Module, windows: Tensor) -> Tensor:
    """Return the summed nll of each window, (B,), float64."""
    logits = model(windows[:, :-1]).logits
    each = F.cross_entropy(
        logits.float().flatten(0, 1), windows[:, 1:].reshape(-1), reduction="none"
    )
    return each.view(len(windows), -1).double().sum(dim=1)


def _check(windows: Tensor, vocabulary: int) -> None:
    if windows.ndim != 2 or not len(windows) or windows.shape[1] < 2:
        raise UserError(f"windows must be (W, T + 1) with W, T > 0, not {tuple(windows.shape)}")
    low, high = int(windows.min()), int(windows.max())
    if low < 0 or high >= vocabulary:
        raise UserError(
            f"token {low if low < 0 else high} is outside the vocabulary of {vocabulary}",
            fix="use the tokenizer the text was encoded with",
        )
