"""After SIGKILL of Snakemake: end or wait for its orphaned jobs, and unlock the folder.

A killed Snakemake leaves jobs that still write into this folder and a lock that keeps the next
Snakemake out. Its lock files name no process, so a living owner is looked for among the processes
that run Snakemake in this folder. Only this machine is seen: on a file system that several
machines share, look for a Snakemake on the others first.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from seqlab.errors import UserError

if TYPE_CHECKING:
    import psutil

GRACE_S = 30.0
_POLL_S = 0.1
_UNLOCK_TIMEOUT_S = 120


@dataclass(frozen=True)
class Recovery:
    """What `recover` found and did; `str` is the message for the user."""

    ended: tuple[int, ...]
    waited_for: tuple[int, ...]
    killed: tuple[int, ...]
    unlocked: bool

    def __str__(self) -> str:
        lines = [
            f"{text}: {', '.join(map(str, pids))}"
            for text, pids in (
                ("waited for orphaned jobs", self.waited_for),
                ("ended orphaned jobs", self.ended),
                ("killed, as they did not end when told to", self.killed),
            )
            if pids
        ]
        if not lines:
            lines = ["no orphaned jobs"]
        lines.append("unlocked the folder" if self.unlocked else "the folder was not locked")
        return "\n".join(lines)


def recover(root: str | Path, *, wait: bool = False, grace_s: float = GRACE_S) -> Recovery:
    """Make the folder ready for `snakemake --rerun-incomplete`.

    Args:
        root: Folder of the project.
        wait: Let orphaned jobs finish instead of ending them.
        grace_s: Time between SIGTERM and SIGKILL, in seconds.

    Raises:
        UserError: A living Snakemake owns the folder, or it cannot be unlocked.
    """
    root = Path(root).resolve()
    _refuse_living_owner(root)
    jobs = orphaned_jobs(root)
    pids = tuple(job.pid for job in jobs)
    killed: tuple[int, ...] = ()
    if wait:
        _wait_for(jobs, until=lambda: False)
    else:
        killed = _end(jobs, grace_s)
    # A second workflow may have been started meanwhile.
    _refuse_living_owner(root)
    return Recovery(
        ended=() if wait else pids,
        waited_for=pids if wait else (),
        killed=killed,
        unlocked=_unlock(root),
    )


def living_owners(root: Path) -> list[psutil.Process]:
    """Return the processes that run Snakemake in this folder."""
    return [found for found in _processes(root) if _runs_snakemake(found.cmdline())]


def orphaned_jobs(root: Path) -> list[psutil.Process]:
    """Return the steps that run in this folder and descend from no living Snakemake.

    A step is told from a command for people by its `--spec` option.
    """
    import psutil

    owners = {process.pid for process in living_owners(root)}
    jobs = []
    for process in _processes(root):
        try:
            above = {parent.pid for parent in process.parents()}
            if _runs_step(process.cmdline()) and not above & owners:
                jobs.append(process)
        except psutil.NoSuchProcess:
            continue
    # Of a step that starts processes of its own, only the first is told to end.
    pids = {job.pid for job in jobs}
    return [job for job in jobs if not {parent.pid for parent in _parents(job)} & pids]


def _refuse_living_owner(root: Path) -> None:
    owners = living_owners(root)
    if owners:
        pids = ", ".join(str(owner.pid) for owner in owners)
        raise UserError(
            f"Snakemake is running here (process {pids})",
            where=str(root.name),
            fix="wait until it ends, or stop it with Ctrl-C",
        )


def _processes(root: Path) -> list[psutil.Process]:
    """Return all processes with this working directory, but this one and those above it."""
    import psutil

    me = psutil.Process()
    mine = {me.pid, *(parent.pid for parent in _parents(me))}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in mine and Path(process.cwd()) == root:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            # Gone, or somebody else's: neither is a job of this folder started by this user.
            continue
    return [process for process in found if _command(process)]


def _command(process: psutil.Process) -> list[str]:
    import psutil

    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return []


def _parents(process: psutil.Process) -> list[psutil.Process]:
    import psutil

    try:
        return list(process.parents())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []


def _runs_snakemake(command: Sequence[str]) -> bool:
    """Tell `snakemake ...` and `python -m snakemake ...` from a shell that mentions the word."""
    if _module(command) == "snakemake":
        return True
    return any(Path(word).name == "snakemake" for word in command[:2])


def _runs_step(command: Sequence[str]) -> bool:
    return _module(command) == "seqlab" and "--spec" in command


def _module(command: Sequence[str]) -> str | None:
    """Return the module of `python -m MODULE`, None for anything else."""
    for flag, module in pairwise(command[1:]):
        if flag == "-m":
            return module
        if not flag.startswith("-"):
            return None
    return None


def _end(jobs: Sequence[psutil.Process], grace_s: float) -> tuple[int, ...]:
    """Tell jobs to end; kill what is left after the grace. Returns who had to be killed."""
    import psutil

    everyone = list(jobs)
    for job in jobs:
        try:
            everyone += job.children(recursive=True)
            job.terminate()
        except psutil.NoSuchProcess:
            continue
    left = _wait_for(everyone, until=_timer(grace_s))
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _wait_for(left, until=_timer(grace_s))
    return tuple(process.pid for process in left)


def _timer(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline


def _wait_for(
    processes: Sequence[psutil.Process], until: Callable[[], bool]
) -> list[psutil.Process]:
    """Wait until all have ended or `until` is true; return those still alive."""
    left = list(processes)
    while True:
        left = [process for process in left if _is_alive(process)]
        if not left or until():
            return left
        time.sleep(_POLL_S)


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        # A zombie has ended; its parent has only not asked for its status yet.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _unlock(root: Path) -> bool:
    """Run `snakemake --unlock` if there is a lock; the owner is known to be dead."""
    locks = root / ".snakemake" / "locks"
    if not locks.is_dir() or not any(locks.iterdir()):
        return False
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--unlock", "--cores", "1"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=_UNLOCK_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise UserError(
            f"snakemake --unlock failed: {' / '.join(lines)}",
            where=".snakemake/locks",
            fix="correct what it says and run again",
        )
    return True
