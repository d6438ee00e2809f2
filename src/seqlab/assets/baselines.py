"""Step: what a language model has to beat on the held-out split, in bits per byte."""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from seqlab.assets.spec import BaselinesSpec
from seqlab.data.corpus import texts
from seqlab.data.ngram import kneser_ney_bits
from seqlab.data.tokens import load_tokens
from seqlab.errors import UserError
from seqlab.provenance.atomic import write_json
from seqlab.spec import In, Out

_XZ_PRESET = 9
# The symbol between documents in a byte stream, beyond the 256 bytes.
_SEPARATOR = 256
# Largest share of the held-out bytes that a tokenizer's normaliser may add or drop.
_NORMALISED = 1e-3


def baselines(spec: BaselinesSpec, *, corpus: In, tokens: In, out: Out) -> None:
    """Write a JSON file with the bits per byte of general compressors and n-gram models.

    Keys of `bits_per_byte`: `xz` (the held-out text alone), `xz_given_seen` (how much longer the
    compressed text gets when the held-out text is appended to what was seen), `byte_<n>gram` and
    `token_<n>gram` (interpolated modified Kneser-Ney). N-gram models also pay for the ends of
    documents, and all are divided by the bytes of the held-out text.

    Args:
        spec: Orders, and the splits the models have seen.
        corpus: Corpus folder.
        tokens: Token folder of the same corpus.
        out: JSON file.

    Raises:
        UserError: An input is missing or damaged, or tokens and corpus are not of the same text.
    """
    seen = [text.encode() for split in spec.seen for text in texts(corpus, split)]
    held_out = [text.encode() for text in texts(corpus, "test")]
    count = sum(map(len, held_out))
    bits = {"xz": 8.0 * _xz(held_out), "xz_given_seen": 8.0 * (_xz(seen + held_out) - _xz(seen))}
    found = kneser_ney_bits(
        _byte_stream(seen), _byte_stream(held_out), _SEPARATOR + 1, spec.byte_orders
    )
    bits |= {f"byte_{order}gram": value for order, value in found.items()}
    bits |= _token_bits(spec, tokens, count)
    write_json(
        out,
        {
            "bits_per_byte": {name: value / count for name, value in bits.items()},
            "held_out_bytes": count,
            "held_out_documents": len(held_out),
            "seen_bytes": sum(map(len, seen)),
            "seen_splits": list(spec.seen),
            "xz_preset": _XZ_PRESET,
        },
    )


def _token_bits(spec: BaselinesSpec, folder: Path, count: int) -> dict[str, float]:
    """Return the bits of the token models, scaled to the `count` bytes of the held-out text."""
    test = load_tokens(folder, "test")
    covered = test.bytes_of(test.ids)
    # A tokenizer that normalises (GPT-NeoX: to NFC) may change a few bytes, no more.
    if abs(covered - count) > _NORMALISED * count:
        raise UserError(
            f"tokens stand for {covered} bytes, the held-out text has {count}",
            where=str(folder),
            fix="use tokens of the same corpus",
        )
    seen = np.concatenate([load_tokens(folder, split).ids for split in spec.seen])
    found = kneser_ney_bits(seen, test.ids, test.vocabulary, spec.token_orders)
    return {f"token_{order}gram": value * count / covered for order, value in found.items()}


def _xz(pieces: Iterable[bytes]) -> int:
    """Return the compressed size of the concatenated pieces, in bytes."""
    return len(lzma.compress(b"".join(pieces), preset=_XZ_PRESET))


def _byte_stream(documents: Iterable[bytes]) -> np.ndarray:
    """Return the bytes of the documents, (N,) int64, each followed by the separator."""
    parts: list[np.ndarray] = []
    for document in documents:
        parts += [np.frombuffer(document, np.uint8).astype(np.int64), np.array([_SEPARATOR])]
    return np.concatenate(parts)
