"""Step: encode the splits of a corpus."""

from __future__ import annotations

from seqlab.assets.spec import TokensSpec
from seqlab.data.corpus import texts
from seqlab.data.tokenizer import load_tokenizer
from seqlab.data.tokens import write_tokens
from seqlab.provenance.atomic import atomic_folder
from seqlab.spec import In, Out


def tokens(spec: TokensSpec, *, corpus: In, tokenizer: In, out: Out) -> None:
    """Write the token arrays of `spec.splits` to the folder `out` (see `seqlab.data.tokens`).

    Raises:
        UserError: An input is missing or damaged, or the tokenizer is not byte-level.
    """
    opened = load_tokenizer(tokenizer)
    with atomic_folder(out) as folder:
        write_tokens(folder, opened, {split: texts(corpus, split) for split in spec.splits})
