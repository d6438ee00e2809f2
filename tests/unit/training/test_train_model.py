"""The step: from a model folder and tokens to a trained, scored model folder."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from seqlab.assets.train_model import train_model
from seqlab.data.tokenizer import save_tokenizer, train_bpe
from seqlab.data.tokens import load_tokens, write_tokens
from seqlab.errors import UserError
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.pretrained import load_causal_lm, save_causal_lm
from seqlab.spec import Context, validate
from seqlab.training import evaluate
from seqlab.training.spec import TrainModelSpec

TRAIN = {"lr": 1e-2, "warmup_steps": 1}
SETTINGS = {"batch": 2, "length": 8, "evaluate_length": 16, "evaluate_tokens": 32}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(5)
    words = ["state", "of", "the", "union", "is", "strong", "and", "weak"]
    texts = [" ".join(rng.choice(words, 60)) for _ in range(4)]
    tokenizer = train_bpe(texts, 280)
    save_tokenizer(tokenizer, folder / "tokenizer")
    write_tokens(
        folder / "tokens",
        tokenizer,
        {"train": texts[:2], "validation": texts[2:3], "test": texts[3:]},
    )
    config = MambaConfig(vocab_size=280, hidden_size=16, num_hidden_layers=1, state_size=4)
    save_causal_lm(init_weights(MambaForCausalLM(config), seed=1), folder / "init")
    return folder


def run(inputs: Path, folder: Path, code: str = "c0de", **train: object) -> Path:
    spec = validate(TrainModelSpec, {**SETTINGS, "train": {**TRAIN, **train}}, "test")
    train_model(
        spec,
        init=inputs / "init",
        tokens=inputs / "tokens",
        tokenizer=inputs / "tokenizer",
        state=folder / "state",
        out=folder / "out",
        context=Context(code=code, device="cpu"),
    )
    return folder / "out"


def report(out: Path) -> dict:
    return json.loads((out / "training.json").read_text())


def test_training_improves_the_held_out_text_and_writes_a_model_folder(
    inputs: Path, tmp_path: Path
) -> None:
    untrained = report(run(inputs, tmp_path / "a", tokens=0))
    out = run(inputs, tmp_path / "b", tokens=16 * 12 + 3, evaluate_every=5)
    trained = report(out)
    assert (trained["steps"], trained["tokens"], trained["stopped"]) == (12, 192, "budget")
    assert trained["held_out"]["bits_per_byte"] < untrained["held_out"]["bits_per_byte"] - 0.1
    assert [row["step"] for row in trained["evaluations"]] == [5, 10, 12]
    curve = (out / "curve.csv").read_text().splitlines()
    assert len(curve) == 13 and curve[0].split(",")[0] == "step"
    assert (out / "tokenizer.json").read_text() == (
        inputs / "tokenizer" / "tokenizer.json"
    ).read_text()
    assert not any(path.is_dir() for path in (tmp_path / "b" / "state").iterdir())
    assert {"git", "packages", "machine"} <= set(trained["environment"])


def test_bits_per_byte_are_those_of_the_saved_weights(inputs: Path, tmp_path: Path) -> None:
    out = run(inputs, tmp_path, steps=3)
    model = load_causal_lm(out)
    text = load_tokens(inputs / "tokens", "test")
    ids = torch.from_numpy(text.ids.astype(np.int64))
    nats, count = 0.0, 0
    for first in range(0, len(ids) - 1, 16):
        window = ids[first : first + 17][None]
        with torch.no_grad():
            logs = torch.log_softmax(model(window[:, :-1]).logits.double(), -1)
        nats -= logs.gather(-1, window[:, 1:, None]).sum().item()
        count += int(text.token_bytes[window[0, 1:].numpy()].sum())
    held_out = report(out)["held_out"]
    assert held_out["bytes"] == count
    assert held_out["tokens"] == len(ids) - 1
    assert held_out["bits_per_byte"] == pytest.approx(nats / math.log(2) / count, rel=1e-5)


def test_a_length_of_zero_links_the_weights_and_scores_them(inputs: Path, tmp_path: Path) -> None:
    out = run(inputs, tmp_path, tokens=0)
    weights = Path("model.safetensors")
    assert (out / weights).samefile(inputs / "init" / weights)
    assert (out / "config.json").read_bytes() == (inputs / "init" / "config.json").read_bytes()
    summary = report(out)
    assert (summary["steps"], summary["stopped"]) == (0, "not trained")
    assert summary["held_out"]["bits_per_byte"] > 1


def test_a_run_killed_while_scoring_trains_nothing_twice(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = run(inputs, tmp_path / "unbroken", steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_text", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(inputs, tmp_path / "killed", steps=4)
    assert not (tmp_path / "killed" / "out").exists()
    out = run(inputs, tmp_path / "killed", steps=4)
    assert report(out)["resumed_from"] == [4]
    assert (out / "curve.csv").read_text() == (unbroken / "curve.csv").read_text()
    ours, theirs = (load_file(path / "model.safetensors") for path in (out, unbroken))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_checkpoint_of_other_code_is_named_and_not_used(
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_text", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(inputs, tmp_path, steps=2)
    with caplog.at_level(logging.WARNING):
        out = run(inputs, tmp_path, code="0ther", steps=2)
    assert report(out)["resumed_from"] == []
    assert any("code expected 0ther, found c0de; not used" in line for line in caplog.messages)


def test_how_often_is_saved_does_not_belong_to_the_run(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_text", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(inputs, tmp_path, steps=2)
    out = run(inputs, tmp_path, steps=2, checkpoint_every_s=5.0)
    assert report(out)["resumed_from"] == [2]


def test_early_stopping_writes_the_best_weights(inputs: Path, tmp_path: Path) -> None:
    out = run(inputs, tmp_path, steps=40, lr=0.3, evaluate_every=1, patience=3)
    summary = report(out)
    losses = [row["loss"] for row in summary["evaluations"]]
    assert summary["stopped"] == "patience"
    assert summary["best_step"] == 1 + losses.index(min(losses)) < summary["steps"]
    text = load_tokens(inputs / "tokens", "validation")
    scores = evaluate.evaluate_text(load_causal_lm(out), text.ids, text.token_bytes, length=16)
    assert scores.loss == pytest.approx(min(losses), rel=1e-5)


def test_tokens_of_a_larger_vocabulary_are_refused(inputs: Path, tmp_path: Path) -> None:
    small = MambaConfig(vocab_size=100, hidden_size=16, num_hidden_layers=1, state_size=4)
    save_causal_lm(init_weights(MambaForCausalLM(small), seed=1), tmp_path / "init")
    for name in ("tokens", "tokenizer"):
        (tmp_path / name).symlink_to(inputs / name)
    with pytest.raises(UserError, match=r"tokens go up to \d+, the model knows 100"):
        run(tmp_path, tmp_path, steps=1)
