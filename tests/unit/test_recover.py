"""Recovery after SIGKILL of Snakemake, on a toy workflow with jobs that outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqlab import recover as module
from seqlab.errors import UserError
from seqlab.recover import living_owners, orphaned_jobs, recover

# A stand-in for a step: the same command line as `python -m seqlab STUDY STEP --spec ...`.
STEP = """
import os, signal, sys, time
from pathlib import Path
if "--deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path("pid").write_text(str(os.getpid()))
seconds = float(sys.argv[sys.argv.index("--seconds") + 1])
time.sleep(seconds)
Path("finished").write_text("")
"""

SNAKEFILE = """
import sys
rule job:
    output:
        "out.txt",
    shell:
        "PYTHONPATH=. {sys.executable:q} -m seqlab toy step --spec '{{}}' --seconds 60;"
        " touch {output}"
"""


def make_step(root: Path) -> None:
    (root / "seqlab").mkdir(parents=True)
    (root / "seqlab" / "__init__.py").write_text("")
    (root / "seqlab" / "__main__.py").write_text(STEP)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = (tmp_path / "project").resolve()
    make_step(root)
    (root / "Snakefile").write_text(SNAKEFILE)
    return root


def wait_for(path: Path, seconds: float = 40) -> int:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
    return int(path.read_text())


def start_step(root: Path, *options: str, seconds: float = 60) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "seqlab", "toy", "step", "--spec", "{}"]
    step = subprocess.Popen(
        [*command, "--seconds", str(seconds), *options],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert wait_for(root / "pid") == step.pid
    return step


def test_nothing_to_do(folder: Path) -> None:
    done = recover(folder)
    assert (done.ended, done.killed, done.unlocked) == ((), (), False)
    assert "no orphaned jobs" in str(done)


def test_orphan_is_ended_and_other_folders_are_left_alone(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_step(other)
    step, neighbour = start_step(folder), start_step(other)
    try:
        assert [job.pid for job in orphaned_jobs(folder)] == [step.pid]
        done = recover(folder)
        assert done.ended == (step.pid,)
        assert done.killed == ()
        assert step.wait(timeout=30) == -signal.SIGTERM
        assert neighbour.poll() is None
    finally:
        for process in (step, neighbour):
            process.kill()
            process.wait()


def test_deaf_orphan_is_killed_after_the_grace(folder: Path) -> None:
    step = start_step(folder, "--deaf")
    try:
        done = recover(folder, grace_s=0.3)
        assert done.killed == (step.pid,)
        assert step.wait(timeout=30) == -signal.SIGKILL
    finally:
        step.kill()
        step.wait()


def test_waiting_lets_the_orphan_finish(folder: Path) -> None:
    step = start_step(folder, seconds=0.5)
    done = recover(folder, wait=True)
    assert done.waited_for == (step.pid,)
    assert (folder / "finished").exists()
    step.wait()


@pytest.mark.parametrize(
    ("command", "snakemake", "step"),
    [
        (["python", "-m", "snakemake", "--cores", "1"], True, False),
        (["/usr/bin/python3", "/venv/bin/snakemake", "all"], True, False),
        (["snakemake"], True, False),
        (["python", "-u", "-m", "seqlab", "a", "b", "--spec", "{}"], False, True),
        (["python", "-m", "seqlab", "resume"], False, False),
        (["/bin/bash", "-c", "python -m snakemake"], False, False),
        (["vim", "notes on snakemake"], False, False),
        (["python", "script.py", "-m", "snakemake"], False, False),
        ([], False, False),
    ],
)
def test_command_lines(command: list[str], snakemake: bool, step: bool) -> None:
    assert module._runs_snakemake(command) is snakemake
    assert module._runs_step(command) is step


def test_sigkill_of_snakemake(folder: Path) -> None:
    snakemake = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pid = wait_for(folder / "pid")
    try:
        assert snakemake.pid in [owner.pid for owner in living_owners(folder)]
        assert orphaned_jobs(folder) == []
        with pytest.raises(UserError, match=rf"Snakemake is running here.*{snakemake.pid}"):
            recover(folder)
        snakemake.send_signal(signal.SIGKILL)
        snakemake.wait()
        assert any((folder / ".snakemake" / "locks").iterdir())
        done = recover(folder)
        assert done.ended == (pid,)
        assert done.unlocked
        assert list(folder.glob(".snakemake/locks/*")) == []
        assert orphaned_jobs(folder) == []
    finally:
        snakemake.kill()
        snakemake.wait()


def test_failed_unlock_says_why(folder: Path) -> None:
    locks = folder / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("out.txt\n")
    (folder / "Snakefile").write_text("rule broken\n")
    with pytest.raises(UserError, match="unlock failed"):
        recover(folder)
