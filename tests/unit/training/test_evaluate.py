"""Bits per byte against sums written out token by token."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.training.evaluate import evaluate_text, evaluate_windows, text_windows


class Bigram(nn.Module):
    """Predicts from the current token alone, so windows cannot change a prediction."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.table = nn.Parameter(torch.randn(vocabulary, vocabulary, generator=generator))
        self.drop = nn.Dropout(0.5)

    def forward(self, ids: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.drop(self.table[ids]))


def nll(model: Bigram, text: np.ndarray) -> float:
    logs = torch.log_softmax(model.table.detach().double(), -1).numpy()
    return -sum(logs[a, b] for a, b in pairwise(text))


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 60), length=st.integers(1, 20), rows=st.integers(1, 80))
def test_every_token_but_the_first_is_scored_once(count: int, length: int, rows: int) -> None:
    model = Bigram(7).train()
    rng = np.random.default_rng(count)
    text = rng.integers(0, 7, count).astype(np.uint16)
    token_bytes = np.array([0, 1, 2, 3, 4, 5, 6])
    scores = evaluate_text(model, text, token_bytes, length=length, batch_tokens=rows)
    assert model.training
    assert scores.nll.dtype == np.float64
    assert scores.nll.sum() == pytest.approx(nll(model, text), rel=1e-5)
    assert scores.bytes.sum() == token_bytes[text[1:]].sum()
    assert scores.tokens.sum() == count - 1
    assert scores.loss == pytest.approx(nll(model, text) / (count - 1), rel=1e-5)
    assert scores.perplexity == pytest.approx(math.exp(scores.loss))
    if scores.bytes.sum():
        expected = nll(model, text) / math.log(2) / token_bytes[text[1:]].sum()
        assert scores.bits_per_byte == pytest.approx(expected, rel=1e-5)


def test_windows_keep_their_order() -> None:
    model = Bigram(7)
    windows = np.random.default_rng(0).integers(0, 7, (5, 9))
    scores = evaluate_windows(model, windows, np.ones(7, int), batch_tokens=16)
    assert scores.nll == pytest.approx([nll(model, window) for window in windows], rel=1e-5)
    assert scores.bytes.tolist() == [8] * 5


def test_a_uniform_model_needs_log2_of_the_vocabulary() -> None:
    model = Bigram(8)
    nn.init.zeros_(model.table)
    scores = evaluate_text(model, np.arange(50) % 8, np.ones(8, int), length=16)
    assert scores.bits_per_byte == pytest.approx(3.0)


def test_bad_tokens_and_short_texts_are_errors() -> None:
    model = Bigram(7)
    with pytest.raises(UserError, match="token 7 is outside the vocabulary of 7"):
        evaluate_windows(model, np.array([[1, 7]]), np.ones(7, int))
    with pytest.raises(UserError, match="at least 2"):
        evaluate_text(model, np.array([1]), np.ones(7, int), length=4)
    assert [part.shape for part in text_windows(np.arange(10), 4)] == [(2, 5), (1, 2)]
