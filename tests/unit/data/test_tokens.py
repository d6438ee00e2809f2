from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seqlab.data.tokenizer import train_bpe
from seqlab.data.tokens import (
    bits_per_byte,
    load_tokens,
    token_index,
    write_tokens,
)
from seqlab.errors import UserError

TEXTS = ["the cat sat", "naïve – café\n", "", "on the mat, the mat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens")
    tokenizer = train_bpe(TEXTS * 3, 280)
    write_tokens(path, tokenizer, {"train": TEXTS, "test": TEXTS[:1], "validation": []})
    return path


def test_documents_end_with_the_end_of_text_token_and_decode_to_their_texts(folder: Path) -> None:
    tokenizer = train_bpe(TEXTS * 3, 280)
    tokens = load_tokens(folder, "train")
    assert tokens.ids.dtype == np.uint16 and isinstance(tokens.ids, np.memmap)
    for index, text in enumerate(TEXTS):
        ids = tokens.document(index)
        assert ids[-1] == token_index(folder)["end_of_text"]
        assert tokenizer.decode(ids[:-1].tolist()) == text
        assert tokens.bytes_of(ids) == len(text.encode())
    assert len(tokens) == tokens.documents[-1]


def test_the_index_counts_tokens_and_bytes(folder: Path) -> None:
    index = token_index(folder)
    assert index["splits"]["train"]["bytes"] == sum(len(text.encode()) for text in TEXTS)
    assert index["splits"]["train"]["documents"] == 4
    assert index["splits"]["validation"] == {"documents": 0, "tokens": 0, "bytes": 0}
    assert index["vocabulary"] == load_tokens(folder, "test").vocabulary
    assert len(load_tokens(folder, "validation")) == 0


def test_bits_per_byte_of_a_uniform_model_over_bytes_is_eight() -> None:
    assert bits_per_byte(1000 * np.log(256), 1000) == pytest.approx(8.0)


def test_wide_vocabularies_get_wide_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqlab.data.tokens._UINT16", 100)
    write_tokens(tmp_path, train_bpe(TEXTS, 257), {"train": TEXTS})
    assert load_tokens(tmp_path, "train").ids.dtype == np.uint32


def test_damage_is_one_message(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no split 'dev'.*test, train, validation"):
        load_tokens(folder, "dev")
    with pytest.raises(UserError, match=r"no tokens\.json"):
        load_tokens(tmp_path, "train")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    np.save(tmp_path / "train.ids.npy", np.zeros(3, np.uint16))
    with pytest.raises(UserError, match="3 tokens found"):
        load_tokens(tmp_path, "train")
    (tmp_path / "train.ids.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="damaged"):
        load_tokens(tmp_path, "train")
    (tmp_path / "train.ids.npy").unlink()
    with pytest.raises(UserError, match="missing token array"):
        load_tokens(tmp_path, "train")
    index = json.loads((tmp_path / "tokens.json").read_text()) | {"schema": 99}
    (tmp_path / "tokens.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="schema 99 is not 1"):
        load_tokens(tmp_path, "train")
