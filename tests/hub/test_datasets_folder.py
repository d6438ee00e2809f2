"""Data set folders in every form that `datasets` opens, read without a network."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from seqlab.assets.corpus import corpus
from seqlab.assets.spec import CorpusSpec
from seqlab.data.corpus import Document, read_documents
from seqlab.data.datasets_folder import Reading, choose_data_files, folder_documents, licence_of
from seqlab.data.sources import read_origin
from seqlab.errors import UserError


def _jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _rows(name: str, count: int) -> list[dict[str, object]]:
    return [{"sentence": f"{name} {i}\n", "label": i % 2, "idx": i} for i in range(count)]


def test_named_files_keep_their_splits(tmp_path: Path) -> None:
    _jsonl(tmp_path / "train.jsonl", _rows("train", 6))
    _jsonl(tmp_path / "dev.jsonl", _rows("dev", 3))
    _jsonl(tmp_path / "test.jsonl", _rows("test", 2))
    reading = Reading(text_column="sentence", label_column="label")
    found = list(folder_documents(tmp_path, reading))
    assert Counter(d.split for d in found) == {"train": 6, "validation": 3, "test": 2}
    assert found[1] == Document("train-0000001", "train", "train 1\n", 1, {"idx": 1})


def test_a_labelled_split_can_stand_in_for_the_held_out_one(tmp_path: Path) -> None:
    # GLUE: the labels of `test` are hidden, so `validation` is held out.
    _jsonl(tmp_path / "train.jsonl", _rows("train", 400))
    _jsonl(tmp_path / "validation.jsonl", _rows("validation", 5))
    _jsonl(tmp_path / "test.jsonl", _rows("test", 4))
    reading = Reading(text_column="sentence", held_out="validation", validation_share=0.1)
    found = list(folder_documents(tmp_path, reading))
    assert [d.text for d in found if d.split == "test"] == [f"validation {i}\n" for i in range(5)]
    assert 20 < sum(d.split == "validation" for d in found) < 60
    assert all(d.text.startswith("train") for d in found if d.split != "test")


def test_a_single_file_is_split_by_hash(tmp_path: Path) -> None:
    _jsonl(tmp_path / "data.jsonl", _rows("x", 400))
    reading = Reading(text_column="sentence", validation_share=0.1, test_share=0.2)
    first = list(folder_documents(tmp_path, reading))
    counts = Counter(d.split for d in first)
    assert 20 < counts["validation"] < 60 and 50 < counts["test"] < 110
    assert first == list(folder_documents(tmp_path, reading))


def test_a_folder_of_save_to_disk_opens(tmp_path: Path) -> None:
    split = datasets.Dataset.from_dict({"text": ["a", "b"]})
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "saved")
    found = list(folder_documents(tmp_path / "saved", Reading()))
    assert [(d.split, d.text) for d in found if d.split == "test"] == [("test", "a"), ("test", "b")]


def test_wikitext_articles_start_at_top_headings_after_a_blank_row(tmp_path: Path) -> None:
    rows = ["", " = One = \n", "", " Body . \n", " = = Section = = \n", " a = b = c \n"]
    rows += [" = Not a title = \n", "", " = Two = Three = \n", "", " More . \n"]
    for split in ("train", "validation", "test"):
        _jsonl(tmp_path / f"{split}.jsonl", [{"text": row} for row in rows])
    found = list(folder_documents(tmp_path, Reading(layout="wikitext")))
    train = [d for d in found if d.split == "train"]
    assert [d.metadata["title"] for d in train] == ["One", "Two = Three"]
    assert "".join(d.text for d in train) == "".join(rows)


def test_the_step_records_files_licence_and_splits(tmp_path: Path) -> None:
    data = tmp_path / "mine"
    _jsonl(data / "train.jsonl", _rows("train", 40))
    (data / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    spec = CorpusSpec(
        source=f"path:{data}", text_column="sentence", test_share=0.3, validation_share=0.2
    )
    corpus(spec, resource=[], out=tmp_path / "corpus")
    origin = read_origin(tmp_path / "corpus")
    assert origin.licence == "mit" and set(origin.sha256) == {"train.jsonl", "README.md"}
    sizes = {s: size["documents"] for s, size in origin.detail["splits"].items()}
    assert sizes == Counter(d.split for d in read_documents(tmp_path / "corpus"))


def test_what_is_no_data_set_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        list(folder_documents(tmp_path / "absent", Reading()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="datasets cannot open it"):
        list(folder_documents(tmp_path / "empty", Reading()))
    _jsonl(tmp_path / "good" / "train.jsonl", _rows("x", 3))
    with pytest.raises(UserError, match=r"no column 'text'.*sentence, label, idx"):
        list(folder_documents(tmp_path / "good", Reading()))
    with pytest.raises(UserError, match="no split 'validation'"):
        list(folder_documents(tmp_path / "good", Reading(held_out="validation")))
    _jsonl(tmp_path / "other" / "test.jsonl", _rows("x", 3))
    with pytest.raises(UserError, match="no training split among test"):
        list(folder_documents(tmp_path / "other", Reading()))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(UserError, match="datasets cannot open it"):
        list(folder_documents(tmp_path / "broken", Reading()))


def test_no_script_of_a_data_set_is_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    mark = tmp_path / "ran"
    (tmp_path / "mine" / "mine.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(UserError, match="datasets cannot open it"):
        list(folder_documents(tmp_path / "mine", Reading()))
    assert not mark.exists()


def test_only_data_of_the_configuration_is_fetched() -> None:
    paths = ["README.md", "a/train.parquet", "b/train.parquet", "load.py", "x.csv.gz"]
    assert choose_data_files(paths, "a") == ["README.md", "a/train.parquet"]
    assert choose_data_files(paths, None) == [
        "README.md",
        "a/train.parquet",
        "b/train.parquet",
        "x.csv.gz",
    ]
    with pytest.raises(UserError, match="no Parquet"):
        choose_data_files(["README.md", "load.py"], None)


@pytest.mark.parametrize(
    ("head", "licence"),
    [("license: mit", "mit"), ("license: [a, b]", "a, b"), ("tags: x", None), ("a: [", None)],
)
def test_the_licence_is_read_from_the_card(tmp_path: Path, head: str, licence: str | None) -> None:
    assert licence_of(tmp_path) is None
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\nlicense: not this\n")
    assert licence_of(tmp_path) == licence
