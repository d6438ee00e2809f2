"""Scores of classifiers against scikit-learn and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from seqlab.data.examples import Examples
from seqlab.errors import UserError
from seqlab.models.classifier import init_classifier
from seqlab.training.classify import (
    as_tensors,
    class_metrics,
    classification_loss,
    evaluate_examples,
)

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.5,
}


def examples(count: int, classes: int = 2) -> Examples:
    rng = np.random.default_rng(7)
    lengths = rng.integers(2, 30, count)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    ids = rng.integers(1, 50, bounds[-1])
    return Examples(ids, bounds, rng.integers(0, classes, count), classes, 50, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_metrics_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    predictions, labels = map(np.array, zip(*pairs, strict=True))
    found = class_metrics(predictions, labels)
    assert found["accuracy"] == accuracy_score(labels, predictions)
    if max(predictions.max(), labels.max()) <= 1:
        expected = f1_score(labels, predictions, zero_division=0.0)
    else:
        names = list(range(int(max(predictions.max(), labels.max())) + 1))
        expected = f1_score(labels, predictions, labels=names, average="macro", zero_division=0.0)
    assert found["f1"] == pytest.approx(expected)


def test_scores_do_not_depend_on_the_batches() -> None:
    model = init_classifier(SHAPE | {"num_labels": 3}, seed=1)
    given_ = examples(23, classes=3)
    alone = []
    for index in range(23):
        batch = as_tensors(given_.batch(np.array([index])))
        with torch.no_grad():
            alone.append(model(input_ids=batch["input_ids"]).logits[0].double())
    logits = torch.stack(alone)
    labels = torch.from_numpy(given_.labels)
    for batch_tokens in (1, 70, 4096):
        found = evaluate_examples(model, given_, batch_tokens=batch_tokens)
        expected = F.cross_entropy(logits, labels, reduction="none").numpy()
        np.testing.assert_allclose(found.nll, expected, rtol=1e-4, atol=1e-5)
        assert np.array_equal(found.predictions, logits.argmax(1).numpy())
        assert found.metrics()["accuracy"] == (found.predictions == given_.labels).mean()
    assert not model.training


def test_the_loss_is_that_of_transformers() -> None:
    model = init_classifier(SHAPE, seed=2)
    batch = as_tensors(examples(9).batch(np.arange(9)))
    expected = model(**batch).loss
    loss = classification_loss(model, batch, 0)
    torch.testing.assert_close(loss.total, expected)
    assert loss.weight is None, "micro-batches weigh by their rows"


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(UserError, match="no examples to score"):
        evaluate_examples(init_classifier(SHAPE, seed=0), examples(0))
