"""The step: from a BERT folder and labelled examples to a trained, scored classifier folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seqlab.assets.examples import examples
from seqlab.assets.init_model import init_model
from seqlab.assets.spec import BertShape, ExamplesSpec, InitModelSpec
from seqlab.assets.train_classifier import train_classifier
from seqlab.data.corpus import Document, read_documents, write_documents
from seqlab.data.examples import Batch, load_examples
from seqlab.data.tokenizer import save_tokenizer, train_bpe
from seqlab.errors import UserError
from seqlab.models.classifier import load_classifier
from seqlab.spec import Context, validate
from seqlab.training import classify
from seqlab.training.classifier_spec import TrainClassifierSpec

SHAPE = BertShape(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=24,
    initializer_range=0.2,
)
WEIGHTS = "model.safetensors"
WORDS = ["plot", "actor", "scene", "music", "camera", "story", "role", "end"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences whose class is one of their words; three of four are positive."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(5)
    documents = []
    for split, count in (("train", 160), ("validation", 40), ("test", 80)):
        for index in range(count):
            label = int(rng.random() < 0.75)
            words = [*rng.choice(WORDS, rng.integers(2, 7)), ("dull", "fine")[label]]
            text = " ".join(rng.permutation(words))
            documents.append(Document(f"{split}-{index}", split, text, label))
    write_documents(folder / "corpus", documents)
    save_tokenizer(train_bpe((d.text for d in documents), 290), folder / "tokenizer")
    encode(folder, 24)
    init_model(
        InitModelSpec(source="init:bert", bert=SHAPE),
        tokenizer=[folder / "tokenizer"],
        out=folder / "init",
    )
    return folder


def encode(folder: Path, length: int) -> None:
    examples(
        ExamplesSpec(length=length),
        corpus=folder / "corpus",
        tokenizer=folder / "tokenizer",
        out=folder / "examples",
    )


def run(inputs: Path, folder: Path, code: str = "c0de", **train: object) -> Path:
    settings = {"batch": 8, "train": {"lr": 1e-2, "warmup_steps": 2, **train}}
    train_classifier(
        validate(TrainClassifierSpec, settings, "test"),
        init=inputs / "init",
        examples=inputs / "examples",
        corpus=inputs / "corpus",
        state=folder / "state",
        out=folder / "out",
        context=Context(code=code, device="cpu"),
    )
    return folder / "out"


def report(out: Path) -> dict:
    return json.loads((out / "training.json").read_text())


def test_training_beats_the_majority_and_writes_a_classifier_folder(
    inputs: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    out = run(inputs, tmp_path, steps=100, lr=5e-3, evaluate_every=40)
    summary = report(out)
    assert (summary["steps"], summary["examples"], summary["stopped"]) == (100, 800, "budget")
    assert [row["step"] for row in summary["evaluations"]] == [40, 80, 100]
    baselines = summary["baselines"]
    assert baselines["bag_of_words"]["accuracy"] == 1.0, "one word decides"
    assert 0.6 < baselines["majority_class"]["accuracy"] < 0.9
    assert summary["held_out"]["accuracy"] > 0.9 > baselines["majority_class"]["accuracy"]
    assert len((out / "curve.csv").read_text().splitlines()) == 101
    assert not any(path.is_dir() for path in (tmp_path / "state").iterdir())
    assert json.loads((out / "source.json").read_text())["source"] == "init:bert"
    # What a user gets who knows nothing of this project: the same predictions from the raw text.
    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    hits = []
    for document in read_documents(inputs / "corpus", "test"):
        with torch.no_grad():
            logits = model(**tokenizer(document.text, return_tensors="pt")).logits
        hits.append(int(logits.argmax()) == document.label)
    assert np.mean(hits) == summary["held_out"]["accuracy"]
    assert summary["held_out"]["examples"] == len(hits)


def test_a_length_of_zero_links_the_weights_and_scores_them(inputs: Path, tmp_path: Path) -> None:
    out = run(inputs, tmp_path, steps=0)
    assert (out / WEIGHTS).samefile(inputs / "init" / WEIGHTS)
    summary = report(out)
    assert (summary["steps"], summary["stopped"]) == (0, "not trained")
    assert summary["held_out"]["accuracy"] < 1


def test_a_run_killed_while_scoring_trains_nothing_twice(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = run(inputs, tmp_path / "unbroken", steps=25)
    with monkeypatch.context() as patch:
        patch.setattr(classify, "evaluate_examples", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(inputs, tmp_path / "killed", steps=25)
    assert not (tmp_path / "killed" / "out").exists()
    out = run(inputs, tmp_path / "killed", steps=25, checkpoint_every_s=5.0)
    assert report(out)["resumed_from"] == [25]
    assert (out / "curve.csv").read_text() == (unbroken / "curve.csv").read_text()
    assert (out / WEIGHTS).read_bytes() == (unbroken / WEIGHTS).read_bytes()


def test_a_run_killed_in_the_middle_ends_with_the_same_bits(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"steps": 30, "checkpoint_every_steps": 7}
    unbroken = run(inputs, tmp_path / "unbroken", **train)
    with monkeypatch.context() as patch:
        original = classify.as_tensors
        calls = []

        def fail_at_the_24th(batch: Batch) -> dict[str, torch.Tensor]:
            calls.append(batch)
            if len(calls) == 24:
                raise KeyboardInterrupt
            return original(batch)

        patch.setattr(classify, "as_tensors", fail_at_the_24th)
        with pytest.raises(KeyboardInterrupt):
            run(inputs, tmp_path / "killed", **train)
    out = run(inputs, tmp_path / "killed", **train)
    assert report(out)["resumed_from"] == [21]
    assert (out / WEIGHTS).read_bytes() == (unbroken / WEIGHTS).read_bytes()


def test_early_stopping_writes_the_best_weights(inputs: Path, tmp_path: Path) -> None:
    out = run(inputs, tmp_path, steps=60, lr=0.5, clip=None, evaluate_every=2, patience=3)
    summary = report(out)
    losses = [row["loss"] for row in summary["evaluations"]]
    assert summary["stopped"] == "patience"
    assert summary["best_step"] == 2 * (1 + losses.index(min(losses))) < summary["steps"]
    validation = load_examples(inputs / "examples", "validation")
    found = classify.evaluate_examples(load_classifier(out), validation)
    assert found.metrics()["loss"] == pytest.approx(min(losses), rel=1e-4)


def test_an_encoder_without_a_head_is_fine_tuned_and_never_passed_on(
    inputs: Path, tmp_path: Path
) -> None:
    (tmp_path / "init").mkdir()
    for path in (inputs / "init").iterdir():
        (tmp_path / "init" / path.name).write_bytes(path.read_bytes())
    state = load_file(inputs / "init" / WEIGHTS)
    without = {name: t for name, t in state.items() if not name.startswith("classifier.")}
    save_file(without, tmp_path / "init" / WEIGHTS, metadata={"format": "pt"})
    for name in ("corpus", "examples"):
        (tmp_path / name).symlink_to(inputs / name)
    with pytest.raises(UserError, match="head is not trained"):
        run(tmp_path, tmp_path, steps=0)
    trained = report(run(tmp_path, tmp_path, steps=100, lr=5e-3))
    assert trained["held_out"]["accuracy"] > 0.9


def test_examples_that_the_model_cannot_read_are_refused(inputs: Path, tmp_path: Path) -> None:
    for name in ("corpus", "tokenizer", "init"):
        (tmp_path / name).symlink_to(inputs / name)
    encode(tmp_path, 25)
    with pytest.raises(UserError, match="examples are as long as 25, the model knows 24"):
        run(tmp_path, tmp_path, steps=1)


def test_a_length_in_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="give the length in steps"):
        validate(TrainClassifierSpec, {"batch": 8, "train": {"lr": 1e-2, "tokens": 9}}, "test")
