"""Byte-level BPE tokenizers: train, save, load, and the bytes that each token stands for.

A tokenizer folder holds `tokenizer.json` (the tokenizers library) and `tokenizer_config.json`, so
that transformers opens it; this module opens it without importing transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqlab.data.resources import load_resource
from seqlab.errors import UserError
from seqlab.provenance.atomic import write_json, write_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
END_OF_TEXT = "<|endoftext|>"
NEOX_RESOURCE = "gpt_neox_tokenizer"
# Names that models give to the token between documents, tried in this order.
_END_NAMES = (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>")
_BYTES = 256


def train_bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a byte-level BPE tokenizer; the same texts in the same order give the same one.

    Entry 0 is the end-of-text token, then the 256 bytes, then merges by falling pair frequency.
    No normaliser and no added prefix space: decoding returns the text byte for byte.

    Args:
        texts: Training texts.
        vocabulary: Number of entries, the end-of-text token included; fewer, where the texts run
            out of pairs that occur twice.

    Raises:
        UserError: `vocabulary` does not even hold the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocabulary < _BYTES + 1:
        raise UserError(
            f"vocabulary: {vocabulary} is too small",
            fix=f"use at least {_BYTES + 1} (256 bytes and the end-of-text token)",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def resource_tokenizer(name: str = NEOX_RESOURCE) -> Tokenizer:
    """Return a vendored tokenizer; the default is that of GPT-NeoX-20B, which Mamba uses.

    Raises:
        UserError: There is no such resource, or it is no tokenizer.
    """
    from tokenizers import Tokenizer

    resource = load_resource(name)
    if not resource.path.name.endswith(".json.xz"):
        raise UserError(f"vendored:{name} is no tokenizer", fix=f"use vendored:{NEOX_RESOURCE}")
    return Tokenizer.from_str(resource.read().decode("utf-8"))


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and the `tokenizer_config.json` that transformers wants."""
    end = tokenizer.id_to_token(end_of_text_id(tokenizer))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / TOKENIZER_FILE, tokenizer.to_str(pretty=False) + "\n")
    write_json(
        folder / CONFIG_FILE,
        {
            "add_prefix_space": False,
            "bos_token": end,
            "clean_up_tokenization_spaces": False,
            "eos_token": end,
            "model_max_length": int(1e30),
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": end,
        },
    )


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Open the `tokenizer.json` of a tokenizer or model folder.

    Raises:
        UserError: The file is missing or damaged.
    """
    from tokenizers import Tokenizer

    path = Path(folder) / TOKENIZER_FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(
            "no tokenizer.json in this folder",
            where=str(folder),
            fix="give a folder with a fast tokenizer (transformers saves one with save_pretrained)",
        ) from None
    try:
        json.loads(text)
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception for a wrong content
        raise UserError(
            f"damaged tokenizer: {error}", where=str(path), fix="make or fetch it again"
        ) from None


def end_of_text_id(tokenizer: Tokenizer) -> int:
    """Return the id of the token that stands between documents.

    Raises:
        UserError: The tokenizer has none under a name in use.
    """
    for name in _END_NAMES:
        token = tokenizer.token_to_id(name)
        if token is not None:
            return int(token)
    raise UserError(
        "the tokenizer has no end-of-text token",
        fix=f"add one of {', '.join(_END_NAMES)} to its special tokens",
    )


def token_bytes(tokenizer: Tokenizer) -> np.ndarray:
    """Return the number of UTF-8 bytes of the text each token stands for, (V,) int32.

    Special tokens, and ids without an entry, stand for none. The bytes of a text are the sum over
    its tokens, exactly, because a byte-level tokenizer cuts the bytes into pieces.

    Raises:
        UserError: The tokenizer is not byte-level, so its tokens have no bytes of their own.
    """
    if '"ByteLevel"' not in tokenizer.to_str():
        raise UserError(
            "bits per byte needs a byte-level tokenizer, and this is another kind",
            fix="use a trained tokenizer, vendored:gpt_neox_tokenizer or that of a GPT-like model",
        )
    added = tokenizer.get_added_tokens_decoder()
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int32)
    alphabet = byte_alphabet()
    for text, token in vocabulary.items():
        if token in added:
            # Added tokens hold plain text (NeoX: runs of spaces), not the byte alphabet.
            lengths[token] = 0 if added[token].special else len(added[token].content.encode())
        elif set(text) <= alphabet.keys():
            lengths[token] = len(text)
        else:
            raise UserError(f"token {token} ({text!r}) is not made of bytes")
    return lengths


@cache
def byte_alphabet() -> dict[str, int]:
    """Return the printable character of each byte in a byte-level vocabulary (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(_BYTES) if byte not in printable)
    return table | {chr(_BYTES + rank): byte for rank, byte in enumerate(others)}
