from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from seqlab.data.weights import choose_model_files, convert_pickled, link_or_copy
from seqlab.errors import UserError


def test_weights_are_taken_once_and_no_code_ever() -> None:
    common = ["README.md", "config.json", "tokenizer.json"]
    rest = ["modeling_evil.py", "flax_model.msgpack", "onnx/model.onnx", "tf_model.h5"]
    assert choose_model_files([*common, *rest, "model.safetensors", "pytorch_model.bin"]) == [
        *common,
        "model.safetensors",
    ]
    shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    index = "pytorch_model.bin.index.json"
    assert choose_model_files([*common, *rest, *shards, index]) == [*common, *shards, index]
    with pytest.raises(UserError, match=r"no config\.json"):
        choose_model_files(["model.safetensors"])
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        choose_model_files(["config.json", "tf_model.h5"])


def test_tied_weights_and_views_are_converted_without_loss(tmp_path: Path) -> None:
    block = torch.randn(6, 4)
    state = {
        "backbone.embeddings.weight": block[:3],
        "lm_head.weight": block[:3],
        "turned": block.T,
        "half": torch.randn(2, 2).to(torch.bfloat16),
        "empty": torch.empty(0),
        "also_empty": torch.empty(0),
    }
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert convert_pickled(tmp_path) == {"pytorch_model.bin": "model.safetensors"}
    assert not (tmp_path / "pytorch_model.bin").exists()
    converted = load_file(tmp_path / "model.safetensors")
    assert set(converted) == set(state) - {"lm_head.weight"}
    assert all(torch.equal(converted[name], state[name]) for name in converted)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata()["lm_head.weight"] == "backbone.embeddings.weight"


def test_an_index_follows_its_shards(tmp_path: Path) -> None:
    shards = {}
    for number in (1, 2):
        name = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({f"layer{number}": torch.full((3,), float(number))}, tmp_path / name)
        shards[f"layer{number}"] = name
    old = tmp_path / "pytorch_model.bin.index.json"
    old.write_text(json.dumps({"weight_map": shards}))
    assert len(convert_pickled(tmp_path)) == 2
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 24 and not old.exists()
    for layer, name in index["weight_map"].items():
        assert load_file(tmp_path / name)[layer].tolist() == [float(layer[-1])] * 3


class _Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"weight": _Evil(mark)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: not a file of plain tensors"):
        convert_pickled(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Evil(mark)}))
    with pytest.raises(UserError, match="not a file of plain tensors"):
        convert_pickled(tmp_path)
    assert not mark.exists() and not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        convert_pickled(tmp_path)


def test_something_besides_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "epoch": 3}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="besides named tensors"):
        convert_pickled(tmp_path)


def test_links_share_the_file_and_copies_replace_them_across_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "real"
    real.write_text("weights")
    (tmp_path / "symbolic").symlink_to(real)
    link_or_copy(tmp_path / "symbolic", tmp_path / "linked")
    assert os.path.samefile(real, tmp_path / "linked")
    assert not (tmp_path / "linked").is_symlink()

    def across(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    link_or_copy(real, tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "weights"
    assert not os.path.samefile(real, tmp_path / "copied")
