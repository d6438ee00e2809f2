"""Saving and loading Hugging Face folders."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from seqlab.errors import UserError
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.mamba_init import init_weights
from seqlab.models.pretrained import load_causal_lm, save_causal_lm


def make(**changes):
    values = {"vocab_size": 31, "hidden_size": 20, "state_size": 4, "num_hidden_layers": 2}
    return init_weights(MambaForCausalLM(MambaConfig(**(values | changes))), 0)


def equal(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip(tmp_path, tied):
    model = make(tie_word_embeddings=tied)
    save_causal_lm(model, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert ("lm_head.weight" in saved) is not tied
    loaded = load_causal_lm(tmp_path)
    assert equal(model, loaded)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    shared = loaded.lm_head.weight is loaded.backbone.embeddings.weight
    assert shared is tied
    assert loaded.scan_backend == "numba"


def test_a_tied_checkpoint_that_holds_the_head_too(tmp_path):
    model = make()
    save_causal_lm(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["backbone.embeddings.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors")
    assert equal(load_causal_lm(tmp_path), model)


def test_same_weights_same_bytes(tmp_path):
    def digest(folder):
        return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())]

    save_causal_lm(make(), tmp_path / "a")
    save_causal_lm(load_causal_lm(tmp_path / "a"), tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]


def test_transformers_opens_what_we_save_and_we_what_it_saves(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = make(use_bias=True, eos_token_id=[1, 2])
    save_causal_lm(model, tmp_path / "ours")
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert type(theirs).__name__ == "MambaForCausalLM"
    assert not any(info.values())
    assert equal(model, theirs)
    assert theirs.generation_config.eos_token_id == [1, 2]
    theirs.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").is_file()
    loaded = load_causal_lm(tmp_path / "sharded")
    assert equal(loaded, model)
    assert loaded.config == MambaConfig.from_hf_dict(model.config.to_hf_dict())


def test_types_and_tokenizer_files(tmp_path):
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    save_causal_lm(make().bfloat16(), tmp_path / "model", [tokenizer])
    assert (tmp_path / "model" / "tokenizer.json").read_text() == "{}"
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    wide = load_causal_lm(tmp_path / "model", dtype=torch.float64)
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float64}
    with pytest.raises(UserError, match="tokenizer file is missing"):
        save_causal_lm(make(), tmp_path / "model", [tmp_path / "absent.json"])


def test_layers_of_different_width(tmp_path):
    model = make(inner_sizes=(24, 9))
    save_causal_lm(model, tmp_path)
    loaded = load_causal_lm(tmp_path)
    assert loaded.config.inner_sizes == (24, 9)
    ids = torch.arange(10)[None]
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_replaced_projections_are_not_saved_wrongly(tmp_path):
    model = make()
    mixer = next(model.mixers())
    mixer.in_proj = torch.nn.Sequential(mixer.in_proj)
    with pytest.raises(UserError, match=r"in_proj.*is not one of a plain"):
        save_causal_lm(model, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def break_config(folder):
    (folder / "config.json").write_text('{"model_type": ')


def other_model(folder):
    (folder / "config.json").write_text('{"model_type": "llama"}')


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def wrong_shape(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"state_size": 7}))


def drop_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["backbone.norm_f.weight"]
    save_file(weights, folder / "model.safetensors")


def add_weight(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"extra": torch.zeros(1)}, folder / "model.safetensors")


def bad_index(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')


def outside_index(folder):
    index = {"weight_map": {"a": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def missing_shard(folder):
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: file is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors: file is missing"),
        (break_config, r"config\.json: file is not JSON"),
        (other_model, "model_type is 'llama'"),
        (truncate, "file is corrupt"),
        (wrong_shape, r"A_log has shape \(40, 4\), expected \(40, 7\)"),
        (drop_weight, r"backbone\.norm_f\.weight is missing"),
        (add_weight, "extra is unknown"),
        (bad_index, "weight_map is missing"),
        (outside_index, "lies outside the folder"),
        (missing_shard, r"model-1\.safetensors: file is missing"),
    ],
)
def test_damaged_folders_are_named(tmp_path, damage, message):
    save_causal_lm(make(), tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        load_causal_lm(tmp_path)
    assert str(tmp_path) in str(caught.value)
