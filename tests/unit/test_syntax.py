"""Syntax hashes: what they see, and that the store between calls changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seqlab import syntax
from seqlab.syntax import STORE, Syntax, parse
from seqlab.workflow import fingerprint

SOURCE = b'''"""A docstring."""
import numpy as np
from seqlab.stats import paired, power
from . import near
from .. import far


def f(x):
    """Another."""
    import torch
    return x + 1  # a comment
'''


def test_imports_are_absolute_wherever_they_stand() -> None:
    imports = parse("a.b.c", SOURCE, is_package=False).imports
    assert {"numpy", "torch", "seqlab.stats.power", "a.b.near", "a.far"} <= set(imports)
    assert "a.b.c.near" in parse("a.b.c", SOURCE, is_package=True).imports


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (b"Another.", b"Words.", True),
        (b"A docstring.", b"Words.", True),
        (b"# a comment", b"# words", True),
        (b"x + 1", b"x  +  1", True),
        (b"x + 1", b"x + 2", False),
        (b"import torch", b"import scipy", False),
    ],
)
def test_only_statements_change_the_hash(old: bytes, new: bytes, same: bool) -> None:
    edited = SOURCE.replace(old, new)
    assert edited != SOURCE
    digests = [parse("m", text, is_package=False).digest for text in (SOURCE, edited)]
    assert (digests[0] == digests[1]) is same


PROGRAM = """
from seqlab import syntax
from seqlab.workflow import fingerprint
calls = []
parse = syntax.parse
syntax.parse = lambda *a: calls.append(a) or parse(*a)
print(fingerprint("seqlab.stats.paired"), len(calls))
"""


def run(folder: Path) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=True
    )
    found, calls = done.stdout.split()
    return found, int(calls)


def test_the_store_saves_parsing_and_changes_nothing(tmp_path: Path) -> None:
    expected = fingerprint("seqlab.stats.paired")
    found, parsed = run(tmp_path)
    assert (found, parsed > 0) == (expected, True)
    assert not (tmp_path / STORE).exists(), "Snakemake has not been here"
    (tmp_path / STORE.parent).mkdir()
    assert run(tmp_path) == (expected, parsed)
    assert run(tmp_path) == (expected, 0)
    # One entry lost or damaged is parsed again and kept.
    entries = json.loads((tmp_path / STORE).read_text())
    first, second = list(entries)[:2]
    del entries[first]
    entries[second] = "nonsense"
    (tmp_path / STORE).write_text(json.dumps(entries))
    assert run(tmp_path) == (expected, 2)
    assert run(tmp_path) == (expected, 0)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_damaged_store_is_done_without(text: str, tmp_path: Path) -> None:
    (tmp_path / STORE.parent).mkdir()
    (tmp_path / STORE).write_text(text)
    found, parsed = run(tmp_path)
    assert found == fingerprint("seqlab.stats.paired")
    assert parsed > 0
    assert run(tmp_path) == (found, 0)


def test_writing_at_the_end_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(syntax.atexit, "register", asked.append)
    store = syntax._Store()
    store.known = {"kept": [["numpy"], "digest"], "damaged": ["nonsense"], "another": []}
    assert store.get("kept") == Syntax(("numpy",), "digest")
    assert asked == [], "nothing new to write"
    # An entry that is there but damaged counts as new, like one that is not.
    for key in ("damaged", "another", "missing"):
        assert store.get(key) is None
        store.put(key, Syntax((), key))
    assert asked == [store.write]
    assert store.used.keys() == {"kept", "damaged", "another", "missing"}
