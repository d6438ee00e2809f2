from __future__ import annotations

from pathlib import Path

import pytest

from seqlab.data.corpus import Document, read_documents, texts, write_documents
from seqlab.data.resources import load_resource
from seqlab.data.vendored import hash_split, vendored_documents
from seqlab.errors import UserError


def _by_split(name: str) -> dict[str, list[Document]]:
    _, documents = vendored_documents(name)
    found: dict[str, list[Document]] = {"train": [], "validation": [], "test": []}
    for document in documents:
        found[document.split].append(document)
    return found


def test_sotu_holds_out_the_last_twenty_speeches() -> None:
    splits = _by_split("sotu")
    assert [len(part) for part in splits.values()] == [205, 8, 20]
    years = {split: [d.metadata["year"] for d in part] for split, part in splits.items()}
    assert max(years["train"]) <= min(years["validation"])
    assert max(years["validation"]) <= min(years["test"]) and max(years["test"]) == 2021
    assert min(years["train"]) == 1790
    # 696,689 bytes is what the bits per byte of the baselines are over.
    assert sum(len(d.text.encode()) for d in splits["test"]) == 696_689


@pytest.mark.parametrize("name", ["wiki_leads", "movie_sentiment"])
def test_hashed_splits_have_the_promised_shares_and_share_no_text(name: str) -> None:
    splits = _by_split(name)
    total = sum(map(len, splits.values()))
    share = {"wiki_leads": 0.05, "movie_sentiment": 0.1}[name]
    for split in ("validation", "test"):
        assert abs(len(splits[split]) / total - share) < 0.01
    held_out = {d.text for d in splits["test"]}
    assert not held_out & {d.text for d in splits["train"]}


def test_sentiment_keeps_clear_ratings_and_labels_them_by_sign() -> None:
    documents = [d for part in _by_split("movie_sentiment").values() for d in part]
    assert len(documents) == 10_072
    assert all(abs(d.metadata["mean"]) >= 0.5 for d in documents)
    assert all(d.label == (d.metadata["mean"] > 0) for d in documents)
    assert abs(sum(d.label or 0 for d in documents) / len(documents) - 0.5) < 0.02


def test_texts_are_those_of_the_file_unchanged() -> None:
    raw = {line["title"]: line["text"] for line in load_resource("wiki_leads").lines()}
    documents = [d for part in _by_split("wiki_leads").values() for d in part]
    assert {d.metadata["title"]: d.text for d in documents} == raw
    assert "é" in "".join(raw.values())


def test_a_split_depends_on_the_name_alone() -> None:
    assert hash_split("Mamba", (0.0, 0.0)) == "train"
    splits = [hash_split(f"document {index}", (0.2, 0.3)) for index in range(4000)]
    assert abs(splits.count("test") / 4000 - 0.3) < 0.03
    assert abs(splits.count("validation") / 4000 - 0.2) < 0.03


def test_documents_come_back_as_written(tmp_path: Path) -> None:
    documents = [
        Document("a", "train", "line one\nline two\n", None, {"year": 1790, "party": None}),
        Document("b", "test", "naïve – 数\u2028", 1, {"mean": 0.5}),
        Document("c", "train", "", 0, {}),
    ]
    sizes = write_documents(tmp_path, documents)
    assert list(read_documents(tmp_path)) == documents
    assert list(texts(tmp_path, "train")) == ["line one\nline two\n", ""]
    assert sizes["test"] == {"documents": 1, "bytes": len(documents[1].text.encode())}
    assert sizes["validation"] == {"documents": 0, "bytes": 0}


def test_the_same_corpus_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for run in ("one", "two"):
        _, documents = vendored_documents("movie_sentiment")
        write_documents(tmp_path / run, documents)
        written.append((tmp_path / run / "documents.parquet").read_bytes())
    assert written[0] == written[1]


def test_a_repeated_id_and_an_empty_split_are_refused(tmp_path: Path) -> None:
    one = Document("a", "train", "text")
    with pytest.raises(UserError, match="'a' occurs twice"):
        write_documents(tmp_path / "x", [one, one])
    with pytest.raises(UserError, match="split 'test' is empty"):
        write_documents(tmp_path / "y", [one])
    assert not (tmp_path / "x" / "documents.parquet").exists()


def test_damage_and_wrong_names_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no documents\.parquet"):
        list(read_documents(tmp_path))
    with pytest.raises(UserError, match="no split 'dev'"):
        list(read_documents(tmp_path, "dev"))
    (tmp_path / "documents.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match="damaged"):
        list(read_documents(tmp_path))
    with pytest.raises(UserError, match="no vendored corpus 'reddit'"):
        vendored_documents("reddit")
