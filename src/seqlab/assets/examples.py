"""Step: encode the labelled texts of a corpus for a classifier."""

from __future__ import annotations

from seqlab.assets.spec import ExamplesSpec
from seqlab.data.corpus import SPLITS, read_documents
from seqlab.data.examples import write_examples
from seqlab.data.tokenizer import load_tokenizer
from seqlab.provenance.atomic import atomic_folder
from seqlab.spec import In, Out


def examples(spec: ExamplesSpec, *, corpus: In, tokenizer: In, out: Out) -> None:
    """Write ids, lengths and labels of every split to `out` (see `seqlab.data.examples`).

    Raises:
        UserError: An input is missing or damaged, or a document has no label.
    """
    opened = load_tokenizer(tokenizer)
    with atomic_folder(out) as folder:
        splits = {split: read_documents(corpus, split) for split in SPLITS}
        write_examples(folder, opened, splits, spec.length)
