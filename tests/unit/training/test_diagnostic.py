"""Loss and answers on diagnostic tasks against plain cross-entropy; learning by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from seqlab.data.flip_flop import FlipFlopLaw, draw_flip_flop
from seqlab.data.mqar import MqarLaw, draw_mqar
from seqlab.models.mixers.registry import ARCHITECTURES
from seqlab.models.sequence_model import SequenceModel, SequenceModelConfig, init_sequence_model
from seqlab.training.diagnostic import answer, answers_loss, as_tensors
from seqlab.training.loop import Job, train
from seqlab.training.spec import TrainSpec

LAW = MqarLaw(vocab_size=32, length=24, pairs=4)


def small(architecture: str = "rope", vocab: int = 32) -> SequenceModel:
    config = SequenceModelConfig(
        architecture, vocab, width=32, heads=2, layer_parameters=20_000, positions=64
    )
    return init_sequence_model(SequenceModel(config), 0)


def test_the_loss_is_the_mean_over_queries() -> None:
    model, batch = small(), draw_mqar(LAW, 5, np.random.default_rng(0))
    tensors = as_tensors(batch)
    logits = model.head(model(tensors["input_ids"]))
    wanted = functional.cross_entropy(
        logits.flatten(0, 1), tensors["labels"].flatten(), ignore_index=-100
    )
    found = answers_loss(model, tensors, 0)
    torch.testing.assert_close(found.total, wanted)
    assert found.weight == 20


def test_weights_count_answers_unequally() -> None:
    model, batch = small(), draw_mqar(LAW, 5, np.random.default_rng(0))
    weights = np.where(np.arange(24) < 12, 1.0, 0.25) * np.ones((5, 1))
    tensors = as_tensors(batch, weights)
    logits = model.head(model(tensors["input_ids"]))
    each = functional.cross_entropy(
        logits.flatten(0, 1), tensors["labels"].flatten(), ignore_index=-100, reduction="none"
    )
    kept = tensors["weights"].flatten() * (tensors["labels"].flatten() >= 0)
    torch.testing.assert_close(
        answers_loss(model, tensors, 0).total, (each * kept).sum() / kept.sum()
    )


def test_answers_do_not_depend_on_how_a_batch_is_cut() -> None:
    model, batch = small(), draw_flip_flop(FlipFlopLaw(32, 0.5), 9, np.random.default_rng(0))
    whole, cut = answer(model, batch), answer(model, batch, batch_tokens=64)
    np.testing.assert_allclose(whole.nll, cut.nll, rtol=1e-5)
    assert (whole.predictions == cut.predictions).all()
    assert (batch.labels[whole.rows, whole.positions] == whole.labels).all()
    metrics = whole.metrics()
    rights = [whole.right[whole.rows == row].all() for row in range(9)]
    assert metrics["exact"] == pytest.approx(np.mean(rights))
    assert metrics["accuracy"] == pytest.approx(whole.right.mean())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_eight_sequences_by_heart(architecture: str) -> None:
    model, batch = small(architecture), draw_mqar(LAW, 8, np.random.default_rng(0))
    spec = TrainSpec(steps=250, lr=0.005, warmup_fraction=0.05, checkpoint_every_s=None)
    tensors = as_tensors(batch)
    train(model, spec, Job(batch_at=lambda _: tensors, loss_fn=answers_loss))
    assert answer(model, batch).metrics()["accuracy"] == 1.0
