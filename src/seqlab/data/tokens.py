"""Token arrays of a corpus: memory-mapped ids, document bounds and the bytes of each token.

A token folder holds, for every split, `<split>.ids.npy` (N,) uint16 or uint32, in which each
document is followed by one end-of-text token, and `<split>.documents.npy` (D + 1,) int64, where
document i is `ids[documents[i]:documents[i + 1]]`, its end-of-text token included; once,
`token_bytes.npy` (V,) int32; and `tokens.json` with sizes and hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlab.data.tokenizer import end_of_text_id, token_bytes
from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_path, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INDEX_FILE = "tokens.json"
_SCHEMA = 1
_ENCODE_BATCH = 256
_UINT16 = 1 << 16


@dataclass(frozen=True)
class Tokens:
    """The tokens of one split.

    Attributes:
        ids: (N,) uint16 or uint32, memory-mapped where loaded from a folder.
        documents: (D + 1,) int64, bounds of the documents in `ids`.
        token_bytes: (V,) int32, UTF-8 bytes that each token of the vocabulary stands for.
    """

    ids: np.ndarray
    documents: np.ndarray
    token_bytes: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def vocabulary(self) -> int:
        """Return the number of entries of the tokenizer."""
        return len(self.token_bytes)

    def bytes_of(self, ids: np.ndarray) -> int:
        """Return the bytes of text that `ids` (any shape) stand for."""
        return int(self.token_bytes[np.asarray(ids, dtype=np.int64)].sum())

    def document(self, index: int) -> np.ndarray:
        """Return the ids of one document, its end-of-text token included."""
        return np.asarray(self.ids[self.documents[index] : self.documents[index + 1]])


def bits_per_byte(nats: float, count: int) -> float:
    """Return the bits per byte of `count` bytes of text whose summed loss is `nats`."""
    return nats / np.log(2.0) / count


def encode(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[np.ndarray]:
    """Yield the ids of each text, (n + 1,) uint32, ended by the end-of-text token."""
    end = end_of_text_id(tokenizer)
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _ENCODE_BATCH:
            yield from _encode_batch(tokenizer, batch, end)
            batch = []
    yield from _encode_batch(tokenizer, batch, end)


def _encode_batch(tokenizer: Tokenizer, batch: list[str], end: int) -> Iterator[np.ndarray]:
    for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
        yield np.array([*encoding.ids, end], dtype=np.uint32)


def write_tokens(folder: Path, tokenizer: Tokenizer, splits: dict[str, Iterable[str]]) -> None:
    """Encode the texts of every split into a token folder."""
    lengths = token_bytes(tokenizer)
    dtype = np.uint16 if len(lengths) <= _UINT16 else np.uint32
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / "token_bytes.npy", lengths)
    sizes: dict[str, dict[str, int]] = {}
    for split, texts in splits.items():
        pieces = [piece.astype(dtype) for piece in encode(tokenizer, texts)]
        ids = np.concatenate(pieces) if pieces else np.empty(0, dtype)
        bounds = np.concatenate(([0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)))
        _save(folder / f"{split}.ids.npy", ids)
        _save(folder / f"{split}.documents.npy", bounds.astype(np.int64))
        sizes[split] = {
            "documents": len(pieces),
            "tokens": len(ids),
            "bytes": int(lengths[ids].sum(dtype=np.int64)),
        }
    write_json(
        folder / INDEX_FILE,
        {
            "schema": _SCHEMA,
            "vocabulary": len(lengths),
            "end_of_text": end_of_text_id(tokenizer),
            "splits": sizes,
        },
    )


def token_index(folder: str | Path) -> dict[str, Any]:
    """Return `tokens.json` of a token folder: vocabulary, end_of_text, sizes of the splits.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    path = Path(folder) / INDEX_FILE
    try:
        index: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError("no tokens.json in this folder", where=str(folder)) from None
    except json.JSONDecodeError as error:
        raise UserError(f"damaged: {error}", where=str(path), fix="make it again") from None
    if index.get("schema") != _SCHEMA:
        raise UserError(
            f"schema {index.get('schema')!r} is not {_SCHEMA}", where=str(path), fix="make it again"
        )
    return index


def load_tokens(folder: str | Path, split: str) -> Tokens:
    """Open one split of a token folder; ids are memory-mapped, not read.

    Raises:
        UserError: The split does not exist, or a file is missing or shorter than recorded.
    """
    folder = Path(folder)
    splits = token_index(folder)["splits"]
    if split not in splits:
        raise UserError(
            f"no split {split!r}", where=str(folder), fix=f"use one of {', '.join(sorted(splits))}"
        )
    ids = _open(folder / f"{split}.ids.npy", mapped=splits[split]["tokens"] > 0)
    documents = _open(folder / f"{split}.documents.npy")
    if len(ids) != splits[split]["tokens"] or documents[-1] != len(ids):
        raise UserError(
            f"{split}: {len(ids)} tokens found, {splits[split]['tokens']} recorded",
            where=str(folder),
            fix="make it again",
        )
    return Tokens(ids, documents, _open(folder / "token_bytes.npy"))


def _open(path: Path, mapped: bool = False) -> np.ndarray:
    try:
        loaded: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise UserError("missing token array", where=str(path), fix="make it again") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"damaged: {error}", where=str(path), fix="make it again") from None
    return loaded


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
