"""The vendored corpora: how each becomes documents, and how each is split by name.

Splits depend on the data alone: by year (`sotu`) or by a hash of the title or id, so that they
are the same on every machine and do not move when documents are added elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from seqlab.data.corpus import Document
from seqlab.data.resources import RESOURCES, Resource, load_resource
from seqlab.errors import UserError

# The last 20 addresses are held out, and the 8 before them validate.
SOTU_TEST = 20
SOTU_VALIDATION = 8
# Shares of the corpora that are split by hash: (validation, test).
WIKI_SHARES = (0.05, 0.05)
SENTIMENT_SHARES = (0.1, 0.1)
# Sentences with a mean rating closer to zero than this are neither positive nor negative.
SENTIMENT_MARGIN = 0.5


def vendored_documents(name: str, root: Path = RESOURCES) -> tuple[Resource, Iterator[Document]]:
    """Return a vendored corpus: its resource and its documents.

    Raises:
        UserError: There is no vendored corpus of this name.
    """
    if name not in _READERS:
        raise UserError(
            f"source: no vendored corpus {name!r}", fix=f"use one of {', '.join(sorted(_READERS))}"
        )
    resource = load_resource(name, root)
    return resource, _READERS[name](resource)


def hash_split(key: str, shares: tuple[float, float]) -> str:
    """Return the split of a document from its name: `shares` are those of validation and test."""
    digest = hashlib.sha256(key.encode("utf-8")).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    validation, test = shares
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def _sotu(resource: Resource) -> Iterator[Document]:
    speeches = sorted(enumerate(resource.lines()), key=lambda item: (item[1]["year"], item[0]))
    first_test = len(speeches) - SOTU_TEST
    for rank, (_, speech) in enumerate(speeches):
        if rank >= first_test:
            split = "test"
        else:
            split = "validation" if rank >= first_test - SOTU_VALIDATION else "train"
        metadata = {key: speech[key] for key in ("year", "president", "party")}
        yield Document(f"sotu-{rank:03d}", split, speech["text"], metadata=metadata)


def _wiki_leads(resource: Resource) -> Iterator[Document]:
    seen: dict[str, int] = {}
    for article in resource.lines():
        title = article["title"]
        seen[title] = seen.get(title, 0) + 1
        name = title if seen[title] == 1 else f"{title} #{seen[title]}"
        # By title, so that two leads of one title never fall on both sides.
        metadata = {"title": title, "topic": article["topic"]}
        yield Document(name, hash_split(title, WIKI_SHARES), article["text"], metadata=metadata)


def _movie_sentiment(resource: Resource) -> Iterator[Document]:
    for sentence in resource.lines():
        if abs(sentence["mean"]) < SENTIMENT_MARGIN:
            continue
        yield Document(
            sentence["id"],
            hash_split(sentence["id"], SENTIMENT_SHARES),
            sentence["text"],
            label=int(sentence["mean"] > 0),
            metadata={"mean": sentence["mean"]},
        )


_READERS: dict[str, Callable[[Resource], Iterator[Document]]] = {
    "sotu": _sotu,
    "wiki_leads": _wiki_leads,
    "movie_sentiment": _movie_sentiment,
}
