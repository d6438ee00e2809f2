"""A corpus folder: documents with split, label and metadata in one Parquet file.

`documents.parquet` has the columns `id` (string), `split` (string), `text` (string), `label`
(int64, null where the corpus has none) and `metadata` (JSON string); `source.json` beside it says
where the texts are from. Texts are never normalised and never split below the document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_path

DOCUMENTS_FILE = "documents.parquet"
SPLITS = ("train", "validation", "test")
_ROWS_PER_GROUP = 4096
_COLUMNS = ("id", "split", "text", "label", "metadata")


@dataclass(frozen=True)
class Document:
    """One text and what is known about it.

    Attributes:
        id: Unique within the corpus.
        split: `train`, `validation` or `test` (held out).
        text: As the source has it.
        label: Class of a classification corpus.
        metadata: Everything else the source says: year, title, ...
    """

    id: str
    split: str
    text: str
    label: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def first_of_each_split(documents: Iterable[Document], most: int | None) -> Iterator[Document]:
    """Yield the first `most` documents of each split in their order, or all where it is None."""
    seen = dict.fromkeys(SPLITS, 0)
    for document in documents:
        seen[document.split] += 1
        if most is None or seen[document.split] <= most:
            yield document


def write_documents(folder: Path, documents: Iterable[Document]) -> dict[str, dict[str, int]]:
    """Write `documents.parquet` into `folder` and return the size of each split.

    Raises:
        UserError: An id occurs twice, or a training or held-out split would be empty.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, pa.int64() if name == "label" else pa.large_string()) for name in _COLUMNS]
    )
    seen: set[str] = set()
    sizes = {split: {"documents": 0, "bytes": 0} for split in SPLITS}
    folder.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(folder / DOCUMENTS_FILE) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for group in _groups(documents):
            for document in group:
                if document.id in seen:
                    raise UserError(f"document id {document.id!r} occurs twice", where=str(folder))
                seen.add(document.id)
                sizes[document.split]["documents"] += 1
                sizes[document.split]["bytes"] += len(document.text.encode())
            writer.write_table(pa.Table.from_pylist([_row(entry) for entry in group], schema))
    for split in ("train", "test"):
        if not sizes[split]["documents"]:
            raise UserError(f"split {split!r} is empty", where=str(folder), fix="give more texts")
    return sizes


def read_documents(folder: str | Path, split: str | None = None) -> Iterator[Document]:
    """Yield the documents of a corpus folder in order, of one split where given.

    Raises:
        UserError: The file is missing or damaged, or there is no such split.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if split is not None and split not in SPLITS:
        raise UserError(f"no split {split!r}", fix=f"use one of {', '.join(SPLITS)}")
    path = Path(folder) / DOCUMENTS_FILE
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_PER_GROUP):
                for row in batch.to_pylist():
                    if split is None or row["split"] == split:
                        yield Document(**row | {"metadata": json.loads(row["metadata"])})
    except FileNotFoundError:
        raise UserError(f"no {DOCUMENTS_FILE} in this folder", where=str(folder)) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"damaged: {error}", where=str(path), fix="make it again") from None


def texts(folder: str | Path, split: str) -> Iterator[str]:
    """Yield the texts of one split."""
    return (document.text for document in read_documents(folder, split))


def _row(document: Document) -> dict[str, Any]:
    metadata = json.dumps(document.metadata, sort_keys=True, ensure_ascii=False)
    return {name: getattr(document, name) for name in _COLUMNS[:-1]} | {"metadata": metadata}


def _groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    for document in documents:
        group.append(document)
        if len(group) == _ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group
