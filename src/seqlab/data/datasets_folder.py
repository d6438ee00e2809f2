"""A data set folder in Hugging Face format, fetched or the user's own, becomes documents.

The folder is one that `datasets.load_dataset` opens (Parquet, JSON Lines, CSV or text files, split
by name or by the YAML of its README) or one that `save_to_disk` wrote. No code of it is run.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqlab.data.corpus import Document
from seqlab.data.network import set_offline
from seqlab.data.vendored import hash_split
from seqlab.errors import UserError

if TYPE_CHECKING:
    from datasets import DatasetDict

_ROWS = 1000
_VALIDATION_NAMES = ("validation", "valid", "val", "dev", "validation_matched")
# A level-one heading of WikiText; deeper ones have more equals signs.
_HEADING = re.compile(r" = (?!= )(.+?)(?<! =) = \n?")
_DATA_SUFFIXES = (".parquet", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".arrow")
_SUFFIX = re.compile(r"(\.(gz|xz|zst|bz2))?$")
_NOTES = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md")


@dataclass(frozen=True)
class Reading:
    """How rows become documents; the fields are those of `CorpusSpec`."""

    config: str | None = None
    text_column: str = "text"
    label_column: str | None = None
    layout: Literal["rows", "wikitext"] = "rows"
    held_out: str = "test"
    validation_share: float = 0.05
    test_share: float = 0.05


def choose_data_files(paths: list[str], config: str | None) -> list[str]:
    """Return the files of a hub data set to fetch: its notes, and the data of one configuration.

    Raises:
        UserError: Nothing of it is data.
    """
    data = [path for path in paths if _SUFFIX.sub("", path).endswith(_DATA_SUFFIXES)]
    if config is not None and any(path.startswith(f"{config}/") for path in data):
        data = [path for path in data if path.startswith(f"{config}/")]
    if not data:
        raise UserError("the repository holds no Parquet, JSON, CSV or text file")
    return [path for path in paths if path in _NOTES] + data


def folder_documents(folder: Path, reading: Reading) -> Iterator[Document]:
    """Yield the documents of a data set folder, training split first.

    Where the source has no validation or held-out split, documents of the training split are put
    aside by a hash of their id.

    Raises:
        UserError: The folder is no data set, or a split or column is missing.
    """
    with tempfile.TemporaryDirectory(prefix="seqlab-datasets-") as cache:
        loaded = _load(folder, reading.config, cache)
        names = _split_names(folder, list(loaded), reading.held_out)
        aside = (
            0.0 if "validation" in names else reading.validation_share,
            0.0 if "test" in names else reading.test_share,
        )
        for split, name in names.items():
            rows = _rows(loaded[name], folder, reading)
            documents = _articles(rows) if reading.layout == "wikitext" else _one_each(rows)
            for index, (text, label, metadata) in enumerate(documents):
                key = f"{name}-{index:07d}"
                chosen = hash_split(key, aside) if split == "train" else split
                yield Document(key, chosen, text, label, metadata)


def licence_of(folder: Path) -> str | None:
    """Return the licence that the YAML head of a README names, or None."""
    import yaml

    readme = folder / "README.md"
    if not readme.is_file():
        return None
    match = re.match(r"---\n(.*?)\n---", readme.read_text("utf-8"), re.DOTALL)
    try:
        head = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return None
    licence = head.get("license") if isinstance(head, dict) else None
    if isinstance(licence, list):
        return ", ".join(map(str, licence)) or None
    return str(licence) if licence else None


def _load(folder: Path, config: str | None, cache: str) -> DatasetDict:
    set_offline()
    import datasets

    datasets.disable_progress_bars()
    if not folder.is_dir():
        raise UserError("no such folder", where=str(folder), fix="correct `path:` in the settings")
    # Absolute, because a relative `json` or `csv` would name a loader of the library.
    place = str(folder.resolve())
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded = datasets.load_from_disk(place)
        else:
            loaded = datasets.load_dataset(place, config, cache_dir=cache)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"datasets cannot open it: {reason}",
            where=str(folder),
            fix="give a folder that datasets.load_dataset opens; `config` names a configuration",
        ) from error
    if isinstance(loaded, datasets.Dataset):
        return datasets.DatasetDict({"train": loaded})
    return loaded


def _split_names(folder: Path, found: list[str], held_out: str) -> dict[str, str]:
    """Return the source's name of each of our splits that it has."""
    if "train" not in found:
        raise UserError(f"no training split among {', '.join(found)}", where=str(folder))
    if held_out != "test" and held_out not in found:
        raise UserError(
            f"held_out: no split {held_out!r}", where=str(folder), fix=f"use one of {found}"
        )
    names = {"train": "train"}
    validation = [name for name in _VALIDATION_NAMES if name in found and name != held_out]
    if validation:
        names["validation"] = validation[0]
    if held_out in found:
        names["test"] = held_out
    return names


def _rows(split: Any, folder: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    """Yield `text`, `label` and `metadata` of every row."""
    wanted = [reading.text_column] + ([reading.label_column] if reading.label_column else [])
    missing = [name for name in wanted if name not in split.column_names]
    if missing:
        raise UserError(
            f"no column {missing[0]!r}",
            where=str(folder),
            fix=f"set text_column or label_column to one of {', '.join(split.column_names)}",
        )
    for batch in split.with_format("arrow").iter(batch_size=_ROWS):
        for row in batch.to_pylist():
            text = row.pop(reading.text_column)
            label = row.pop(reading.label_column) if reading.label_column else None
            plain = {key: value for key, value in row.items() if _is_plain(value)}
            yield {"text": text or "", "label": label, "metadata": plain}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


_Parts = tuple[str, int | None, dict[str, Any]]


def _one_each(rows: Iterable[dict[str, Any]]) -> Iterator[_Parts]:
    for row in rows:
        yield row["text"], row["label"], row["metadata"]


def _articles(rows: Iterable[dict[str, Any]]) -> Iterator[_Parts]:
    """Join WikiText rows into articles; what stands before the first heading is one as well.

    Rows are joined as they are: the Parquet release has empty rows where the original files have
    blank lines, so an article's bytes are those of its Parquet rows.
    """
    title: str | None = None
    parts: list[str] = []
    blank = True
    for row in rows:
        text = row["text"]
        heading = _HEADING.fullmatch(text) if blank else None
        if heading:
            if "".join(parts).strip():
                yield "".join(parts), None, {"title": title}
            title, parts = heading[1], []
        parts.append(text)
        blank = not text.strip()
    if "".join(parts).strip():
        yield "".join(parts), None, {"title": title}
