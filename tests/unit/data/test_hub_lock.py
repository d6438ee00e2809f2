from __future__ import annotations

from pathlib import Path

import pytest

from seqlab.data.lock import LOCK_FILE, read_lock, write_lock
from seqlab.data.network import is_loopback
from seqlab.data.sources import Source, parse_source, read_origin
from seqlab.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_lock_of_the_checkout_lists_what_figure_2_needs() -> None:
    lock = read_lock(ROOT / LOCK_FILE)
    assert "Salesforce/wikitext" in lock.commits["dataset"]
    assert {f"state-spaces/mamba-{size}-hf" for size in ("130m", "370m", "2.8b")} <= set(
        lock.commits["model"]
    )


def test_an_unresolved_commit_is_none_unless_locked(tmp_path: Path) -> None:
    path = tmp_path / "hub.lock.yaml"
    write_lock({"model": {"a/b": None, "c/d": COMMIT}, "dataset": {}}, path)
    lock = read_lock(path)
    assert lock.revision("model", "a/b") is None
    assert lock.revision("model", "c/d", locked=True) == COMMIT
    with pytest.raises(UserError, match=r"models\.a/b: unresolved, and locked=true refuses"):
        lock.revision("model", "a/b", locked=True)
    with pytest.raises(UserError, match=r"datasets\.a/b: not listed.*add `a/b: null`"):
        lock.revision("dataset", "a/b")


@pytest.mark.parametrize("value", ["main", "abc123", "'" + "A" * 40 + "'", "12"])
def test_only_full_commit_hashes_are_accepted(tmp_path: Path, value: str) -> None:
    path = tmp_path / "hub.lock.yaml"
    path.write_text(f"models:\n  a/b: {value}\n")
    with pytest.raises(UserError, match=r"models\.a/b: .* is not a full commit hash"):
        read_lock(path)


def test_a_broken_lock_file_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "hub.lock.yaml"
    with pytest.raises(UserError, match=r"missing.*git checkout"):
        read_lock(path)
    path.write_text("model:\n  a/b: null\n")
    with pytest.raises(UserError, match="unknown keys"):
        read_lock(path)
    path.write_text("models: [a\n")
    with pytest.raises(UserError, match="not YAML"):
        read_lock(path)
    path.write_text("models: [a]\n")
    with pytest.raises(UserError, match="expected `ID: COMMIT` lines"):
        read_lock(path)


def test_sources_are_a_kind_and_a_name() -> None:
    assert parse_source("hub:a/b") == Source("hub", "a/b")
    assert parse_source("path:C:/data").name == "C:/data"
    assert str(parse_source("vendored:sotu")) == "vendored:sotu"
    for wrong in ("sotu", "vendored:", "ftp:x", "init:mamba", ""):
        with pytest.raises(UserError, match=r"write vendored:NAME, path:DIR, hub:ID"):
            parse_source(wrong)


def test_a_damaged_origin_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.json is missing"):
        read_origin(tmp_path)
    (tmp_path / "source.json").write_text('{"source": "hub:a/b"}')
    with pytest.raises(UserError, match=r"not a source\.json of this version"):
        read_origin(tmp_path)


def test_loopback_is_told_from_a_hub() -> None:
    assert is_loopback("http://127.0.0.1:8000") and is_loopback("http://localhost")
    assert is_loopback("http://[::1]:80")
    assert not is_loopback("https://hub.example.org") and not is_loopback("")
