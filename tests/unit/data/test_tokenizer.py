from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from seqlab.data.tokenizer import (
    END_OF_TEXT,
    byte_alphabet,
    end_of_text_id,
    load_tokenizer,
    resource_tokenizer,
    save_tokenizer,
    token_bytes,
    train_bpe,
)
from seqlab.errors import UserError

TEXTS = [
    "the cat sat on the mat\n",
    "the dog saw the cat – naïve café",
    "a cat, a dog; 12 mats",
] * 3


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_bpe(TEXTS, 300)


@pytest.fixture(scope="module")
def neox() -> Tokenizer:
    return resource_tokenizer()


def test_the_vendored_tokenizer_is_that_of_gpt_neox(neox: Tokenizer) -> None:
    assert neox.encode("Hello world").ids == [12092, 1533]
    assert neox.get_vocab_size() == 50_277
    assert end_of_text_id(neox) == 0
    with pytest.raises(UserError, match="vendored:sotu is no tokenizer"):
        resource_tokenizer("sotu")


def test_training_is_deterministic_and_learns_merges(trained: Tokenizer) -> None:
    assert train_bpe(iter(TEXTS), 300).to_str() == trained.to_str()
    assert trained.token_to_id(END_OF_TEXT) == 0
    assert 257 < trained.get_vocab_size() <= 300
    assert len(trained.encode(" the cat").ids) < len(" the cat")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_text_survives_and_its_bytes_are_the_sum_over_tokens(text: str) -> None:
    ids = TRAINED.encode(text, add_special_tokens=False).ids
    assert TRAINED.decode(ids, skip_special_tokens=False) == text
    if END_OF_TEXT not in text:
        assert token_bytes(TRAINED)[ids].sum() == len(text.encode())


TRAINED = train_bpe(TEXTS, 300)


def test_bytes_of_the_vendored_tokenizer_are_exact_also_for_runs_of_spaces(
    neox: Tokenizer,
) -> None:
    lengths = token_bytes(neox)
    text = "def f():\n" + " " * 23 + "return 'naïve – 数'\n\n\tx  y"
    ids = neox.encode(text, add_special_tokens=False).ids
    assert lengths[ids].sum() == len(text.encode())
    assert lengths[0] == 0 and lengths.shape == (50_277,)
    assert np.all(lengths[2:] > 0)


def test_the_byte_alphabet_is_that_of_the_library() -> None:
    table = byte_alphabet()
    assert set(table) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(table.values()) == list(range(256))
    assert table["Ġ"] == ord(" ") and table["A"] == ord("A") and table["Ċ"] == ord("\n")


def test_a_saved_tokenizer_opens_again_without_transformers(
    trained: Tokenizer, tmp_path: Path
) -> None:
    save_tokenizer(trained, tmp_path)
    assert load_tokenizer(tmp_path).to_str() == trained.to_str()
    code = (
        "import sys; from seqlab.data.tokenizer import load_tokenizer;"
        f"print(load_tokenizer({str(tmp_path)!r}).encode('the cat').ids);"
        "assert not {'transformers', 'torch', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(trained.encode("the cat").ids)


def test_unusable_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(UserError, match="damaged tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"vers')
    with pytest.raises(UserError, match="damaged tokenizer"):
        load_tokenizer(tmp_path)
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(UserError, match="needs a byte-level tokenizer"):
        token_bytes(words)
    with pytest.raises(UserError, match="no end-of-text token"):
        end_of_text_id(words)
    with pytest.raises(UserError, match="vocabulary: 256 is too small"):
        train_bpe(TEXTS, 256)
