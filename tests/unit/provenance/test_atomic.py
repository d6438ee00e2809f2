"""Atomic writes: all or nothing, and one clear message when the disk refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from seqlab.errors import UserError
from seqlab.provenance.atomic import (
    atomic_folder,
    atomic_path,
    json_text,
    write_bytes,
    write_json,
    write_text,
)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(".tmp-")]


def run_child(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_writes_and_makes_parents(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    write_text(target, "grüße\r\n")
    assert target.read_bytes() == "grüße\r\n".encode()
    assert not leftovers(tmp_path)


def test_keeps_suffix_for_libraries(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.npz") as temporary:
        assert temporary.parent == tmp_path
        np.savez(temporary, a=np.arange(3))
    assert np.load(tmp_path / "x.npz")["a"].tolist() == [0, 1, 2]


def test_failed_body_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    write_text(target, "old")
    with pytest.raises(KeyError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyError("body")
    assert target.read_text() == "old"
    assert not leftovers(tmp_path)


def test_interrupt_removes_the_temporary(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        pass


def test_full_disk(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    target = tmp_path / "x.bin"
    write_bytes(target, b"old")
    message = r"x\.bin: cannot write: no space left.*free some space"
    with pytest.raises(UserError, match=message), atomic_path(target) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"old"
    assert not leftovers(tmp_path)


def test_file_size_limit_in_a_child(tmp_path: Path) -> None:
    target = tmp_path / "big.bin"
    child = run_child(
        """
        import resource, sys
        from seqlab.errors import UserError
        from seqlab.provenance.atomic import write_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_bytes(sys.argv[1], b"x" * 100_000)
        except UserError as error:
            print(error)
        """,
        target,
    )
    assert child.returncode == 0, child.stderr
    assert "big.bin: cannot write: the file would exceed the file size limit" in child.stdout
    assert list(tmp_path.iterdir()) == []


def test_folder_without_write_permission(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    child = run_child(
        """
        import os, sys
        from seqlab.errors import UserError
        from seqlab.provenance.atomic import atomic_folder, write_text
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            write_text(sys.argv[1] + "/x.txt", "x")
        except UserError as error:
            print(error)
        try:
            with atomic_folder(sys.argv[1] + "/sub"):
                pass
        except UserError as error:
            print(error)
        """,
        folder,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("not allowed to write here") == 2
    assert "closed/x.txt" in child.stdout


@pytest.mark.parametrize(
    ("make", "name", "cause"),
    [
        (lambda root: (root / "x").mkdir(), "x", "a folder stands where a file"),
        (lambda root: (root / "x").write_text(""), "x/y", "file stands where a folder|is a file"),
        (lambda root: (root / "x").write_text(""), "x/y/z", "file stands where a folder|is a file"),
        (lambda root: None, "n" * 300, "too long"),
    ],
)
def test_impossible_targets_fail_before_the_work(tmp_path, make, name, cause) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=cause), atomic_path(tmp_path / name) as temporary:
        temporary.write_text("data")


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_path(tmp_path / "x"):
        raise PermissionError(13, "Permission denied", "/some/input")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        (tmp_path / "missing input").read_text()


def test_error_number_in_a_text_from_rust(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no space left"), atomic_path(tmp_path / "x"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


def test_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for generation in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / generation).mkdir()
            (temporary / generation / "file").write_text(generation)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert not leftovers(tmp_path)


def test_failed_folder_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as temporary:
        (temporary / "other").write_text("half")
        _ = 1 // 0
    assert (target / "file").read_text() == "old"
    assert not leftovers(tmp_path)


def test_folder_over_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("file")
    refused = pytest.raises(UserError, match="a file stands where a folder")
    with refused, atomic_folder(tmp_path / "x") as temporary:
        (temporary / "y").write_text("")
    assert (tmp_path / "x").read_text() == "file"


def test_json_is_stable_and_round_trips(tmp_path: Path) -> None:
    value = {"b": 0.1 + 0.2, "a": [1, np.float32(0.5), np.int64(7)], "c": {"y": None, "x": True}}
    assert json_text(value) == json_text(dict(reversed(value.items())))
    write_json(tmp_path / "x.json", value)
    back = json.loads((tmp_path / "x.json").read_text())
    assert back == {"a": [1, 0.5, 7], "b": 0.1 + 0.2, "c": {"x": True, "y": None}}
    assert (tmp_path / "x.json").read_text().endswith("}\n")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan")])
def test_json_refuses_what_json_cannot_say(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"x": bad})
    assert list(tmp_path.iterdir()) == []
