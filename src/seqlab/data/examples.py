"""Encoded labelled texts: the ids of each text of a corpus, cut to a length, with its class.

An example folder holds, for every split, `<split>.ids.npy` (N,) uint16 or uint32, in which the
texts follow each other, `<split>.bounds.npy` (E + 1,) int64, where example i is
`ids[bounds[i]:bounds[i + 1]]`, special tokens included, and `<split>.labels.npy` (E,) int64; and
`examples.json` with what holds for all of them. Examples stand in the order of the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlab.data.corpus import Document
from seqlab.data.tokenizer import end_of_text_id
from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_path, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INDEX_FILE = "examples.json"
_SCHEMA = 1
_ENCODE_BATCH = 256
_UINT16 = 1 << 16
# Names that tokenizers give to the token that fills up a batch, tried in this order.
_PADDING_NAMES = ("[PAD]", "<pad>")


@dataclass(frozen=True)
class Batch:
    """Examples of one batch, filled up to the longest of them.

    Attributes:
        input_ids: (B, T) int64.
        attention_mask: (B, T) int64, 1 where a token of the text stands and 0 where it is padding.
        labels: (B,) int64.
    """

    input_ids: np.ndarray
    attention_mask: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Examples:
    """The examples of one split.

    Attributes:
        ids: (N,) uint16 or uint32.
        bounds: (E + 1,) int64, bounds of the examples in `ids`.
        labels: (E,) int64, classes from 0.
        classes: Number of classes of the corpus' training split.
        vocabulary: Entries of the tokenizer.
        padding: Token that fills up a batch.
    """

    ids: np.ndarray
    bounds: np.ndarray
    labels: np.ndarray
    classes: int
    vocabulary: int
    padding: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Return the tokens of each example, (E,) int64."""
        return np.diff(self.bounds)

    def first(self, count: int) -> Examples:
        """Return the first `count` examples, or all where there are fewer."""
        return replace(self, bounds=self.bounds[: count + 1], labels=self.labels[:count])

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the examples at `indices` (B,), padded on the right to the longest of them."""
        lengths = self.lengths[indices]
        mask = np.arange(lengths.max()) < lengths[:, None]
        # Where the mask is false the position may lie beyond the end; it is overwritten.
        places = self.bounds[indices][:, None] + np.arange(mask.shape[1])
        found = self.ids[np.minimum(places, len(self.ids) - 1)].astype(np.int64)
        return Batch(
            input_ids=np.where(mask, found, self.padding),
            attention_mask=mask.astype(np.int64),
            labels=self.labels[indices],
        )


def classifier_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return `tokenizer` with a template that marks the start and the end of a text.

    A tokenizer that has one (BERT's `[CLS] text [SEP]`) is returned as it is; another one gets its
    end-of-text token on both sides, so that a classifier can read the first position.
    """
    from tokenizers import processors

    if tokenizer.encode("").ids:
        return tokenizer
    token_id = end_of_text_id(tokenizer)
    token = tokenizer.id_to_token(token_id)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A {token}", special_tokens=[(token, token_id)]
    )
    return tokenizer


def padding_id(tokenizer: Tokenizer) -> int:
    """Return the token that fills up a batch: the tokenizer's own, or else its end of text."""
    for name in _PADDING_NAMES:
        token = tokenizer.token_to_id(name)
        if token is not None:
            return int(token)
    return end_of_text_id(tokenizer)


def write_examples(
    folder: Path, tokenizer: Tokenizer, splits: Mapping[str, Iterable[Document]], length: int
) -> None:
    """Encode labelled documents into an example folder.

    Args:
        folder: Example folder.
        tokenizer: Any kind; without a template it gets one (`classifier_tokenizer`).
        splits: Documents of each split; `train` must be among them, for the number of classes.
        length: Most tokens of an example, special tokens included; what is beyond is cut off.

    Raises:
        UserError: A document has no label, or one that the training split does not have.
    """
    tokenizer = classifier_tokenizer(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vocabulary = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    dtype = np.uint16 if vocabulary <= _UINT16 else np.uint32
    folder.mkdir(parents=True, exist_ok=True)
    classes = 0
    sizes: dict[str, dict[str, Any]] = {}
    for split in sorted(splits, key="train".__ne__):
        pieces, labels, cut = _encode(tokenizer, splits[split], length)
        classes = classes or _classes(labels)
        _check_labels(split, labels, classes)
        bounds = np.concatenate(([0], np.cumsum([len(piece) for piece in pieces], dtype=np.int64)))
        ids = np.array([token for piece in pieces for token in piece], dtype)
        _save(folder / f"{split}.ids.npy", ids)
        _save(folder / f"{split}.bounds.npy", bounds.astype(np.int64))
        _save(folder / f"{split}.labels.npy", labels)
        sizes[split] = {
            "examples": len(labels),
            "tokens": len(ids),
            "cut": cut,
            "by_class": np.bincount(labels, minlength=classes).tolist(),
        }
    write_json(
        folder / INDEX_FILE,
        {
            "schema": _SCHEMA,
            "vocabulary": vocabulary,
            "padding": padding_id(tokenizer),
            "classes": classes,
            "length": length,
            "splits": sizes,
        },
    )


def _encode(
    tokenizer: Tokenizer, documents: Iterable[Document], length: int
) -> tuple[list[list[int]], np.ndarray, int]:
    """Return the ids and labels of the documents, and how many of them were cut."""
    pieces: list[list[int]] = []
    labels: list[int] = []
    cut = 0
    tokenizer.enable_truncation(length)
    for group in _groups(documents):
        for document, encoding in zip(
            group, tokenizer.encode_batch([entry.text for entry in group]), strict=True
        ):
            if document.label is None or document.label < 0:
                raise UserError(
                    f"document {document.id!r} has no label",
                    fix="set label_column of the corpus, or take a split whose labels are public",
                )
            pieces.append(encoding.ids)
            labels.append(document.label)
            cut += bool(encoding.overflowing)
    return pieces, np.array(labels, np.int64), cut


def _groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    for document in documents:
        group.append(document)
        if len(group) == _ENCODE_BATCH:
            yield group
            group = []
    if group:
        yield group


def _classes(labels: np.ndarray) -> int:
    found = np.unique(labels)
    if len(found) < 2 or found[-1] != len(found) - 1:
        raise UserError(
            f"labels of the training split are {found.tolist()}",
            fix="give at least two classes, numbered from 0",
        )
    return len(found)


def _check_labels(split: str, labels: np.ndarray, classes: int) -> None:
    if len(labels) and labels.max() >= classes:
        raise UserError(
            f"{split}: label {labels.max()} does not occur in the training split",
            fix="take more documents",
        )


def example_index(folder: str | Path) -> dict[str, Any]:
    """Return `examples.json`: vocabulary, padding, classes, length, sizes of the splits.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    path = Path(folder) / INDEX_FILE
    try:
        index: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {INDEX_FILE} in this folder", where=str(folder)) from None
    except json.JSONDecodeError as error:
        raise UserError(f"damaged: {error}", where=str(path), fix="make it again") from None
    if index.get("schema") != _SCHEMA:
        raise UserError(
            f"schema {index.get('schema')!r} is not {_SCHEMA}", where=str(path), fix="make it again"
        )
    return index


def load_examples(folder: str | Path, split: str) -> Examples:
    """Open one split of an example folder.

    Raises:
        UserError: The split does not exist, or a file is missing or shorter than recorded.
    """
    folder = Path(folder)
    index = example_index(folder)
    splits = index["splits"]
    if split not in splits:
        raise UserError(
            f"no split {split!r}", where=str(folder), fix=f"use one of {', '.join(sorted(splits))}"
        )
    ids, bounds, labels = (
        _open(folder / f"{split}.{part}.npy") for part in ("ids", "bounds", "labels")
    )
    size = splits[split]
    if (len(ids), len(labels)) != (size["tokens"], size["examples"]) or bounds[-1] != len(ids):
        raise UserError(
            f"{split}: {len(labels)} examples of {len(ids)} tokens found, {size['examples']} of "
            f"{size['tokens']} recorded",
            where=str(folder),
            fix="make it again",
        )
    return Examples(ids, bounds, labels, index["classes"], index["vocabulary"], index["padding"])


def _open(path: Path) -> np.ndarray:
    try:
        loaded: np.ndarray = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError("missing array", where=str(path), fix="make it again") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"damaged: {error}", where=str(path), fix="make it again") from None
    return loaded


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
