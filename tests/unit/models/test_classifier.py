"""BERT classifiers as folders: seeds, heads, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seqlab.errors import UserError
from seqlab.models.classifier import (
    init_classifier,
    load_classifier,
    load_for_fine_tuning,
    save_classifier,
)

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 20,
    "pad_token_id": None,
}
IDS = torch.arange(12).reshape(2, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_classifier(init_classifier(SHAPE | {"num_labels": 3}, seed=4), tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A pretrained encoder without a classifier, with the names of old checkpoints."""
    from transformers import BertConfig, BertForPreTraining

    BertForPreTraining(BertConfig(**SHAPE)).save_pretrained(tmp_path / "encoder")
    path = tmp_path / "encoder" / "model.safetensors"
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(old, path, metadata={"format": "pt"})
    return tmp_path / "encoder"


def test_a_saved_classifier_gives_the_same_logits_in_transformers(folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    ours = load_classifier(folder)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert type(ours) is type(theirs) and not ours.training
    with torch.no_grad():
        assert torch.equal(ours(input_ids=IDS).logits, theirs(input_ids=IDS).logits)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    assert ours.config.num_labels == 3


def test_fresh_weights_follow_from_the_seed_and_leave_the_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        save_classifier(init_classifier(SHAPE, seed), tmp_path / name)
    assert torch.equal(torch.rand(3), expected)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_half_precision_weights_are_opened_in_fp32(folder: Path) -> None:
    path = folder / "model.safetensors"
    half = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(half, path, metadata={"format": "pt"})
    model = load_classifier(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.classifier.weight, half["classifier.weight"].float())


def test_an_encoder_gets_a_seeded_head_and_is_no_trained_classifier(encoder: Path) -> None:
    with pytest.raises(UserError, match=r"head is not trained: classifier\.bias is missing"):
        load_classifier(encoder)
    models = [load_for_fine_tuning(encoder, "cpu", 5, seed) for seed in (0, 0, 1)]
    heads = [model.classifier.weight for model in models]
    assert heads[0].shape == (5, 16)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    state = load_file(encoder / "model.safetensors")
    gamma = state["bert.embeddings.LayerNorm.gamma"]
    assert torch.equal(models[0].bert.embeddings.LayerNorm.weight, gamma)
    word = "bert.embeddings.word_embeddings.weight"
    assert all(torch.equal(model.state_dict()[word], state[word]) for model in models)


def test_a_missing_layer_is_refused(encoder: Path) -> None:
    path = encoder / "model.safetensors"
    state = load_file(path)
    del state["bert.encoder.layer.0.output.dense.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"layer\.0\.output\.dense\.weight is missing"):
        load_for_fine_tuning(encoder, "cpu", 2, 0)


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        load_classifier(tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:99])
    with pytest.raises(UserError, match="cannot open it"):
        load_classifier(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot open it"):
        load_classifier(folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"model_type": "mamba"}))
    with pytest.raises(UserError, match="model_type is 'mamba'"):
        load_classifier(folder)
