"""The file lock: one holder, named in the message, freed by any kind of death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seqlab.errors import UserError
from seqlab.provenance.lock import file_lock, owner

HOLD = """
import sys, time
from seqlab.provenance.lock import file_lock
with file_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_held_by_another_process_and_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "state" / "x.lock"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        found = owner(path)
        assert found is not None and found["pid"] == child.pid
        message = f"the training of m is in use by process {child.pid} since 20"
        with pytest.raises(UserError, match=message), file_lock(path, what="the training of m"):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert owner(path) is None
        with file_lock(path, wait_s=5):
            held = owner(path)
            assert held is not None and held["pid"] == os.getpid()
        assert owner(path) is None
    finally:
        child.kill()
        child.wait()


def test_released_when_the_body_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), file_lock(tmp_path / "x"):
        raise KeyError
    with file_lock(tmp_path / "x"):
        assert (tmp_path / "x").read_text() != ""


def test_no_lock_file_and_unwritable_place(tmp_path: Path) -> None:
    assert owner(tmp_path / "none") is None
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"), file_lock(tmp_path / "file" / "x.lock"):
        pass
