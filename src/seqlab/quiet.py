"""Give timings the machine alone, while all other work shares it.

Every step of the workflow works under a shared lock of the machine. To time something it gives that
up and takes the lock alone, once all others time as well or have ended; they wait until it is done.
So jobs prepare side by side, and no timing has company. Those that wait to time go before those
that would work on: both then prepare together again. And from its first timing on a step keeps the
door shut: steps that start later wait outside, or else the preparation of each would hold up the
timings of the one before. The kernel frees the locks of a killed process.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


_NAMES = ("door", "queue", "machine")
# Set in the environment of what a step starts.
_PART_OF_STEP = "SEQLAB_PART_OF_STEP"


@dataclass
class _Locks:
    """Open lock files of this process.

    Attributes:
        door: Shared by those who have begun to time; newcomers wait until nobody holds it.
        queue: Held by the one who is next at the machine.
        machine: Shared by those who work, exclusive while one of them times.
        alone: Whether this process holds the machine alone.
    """

    door: int
    queue: int
    machine: int
    alone: bool = False


_held: ContextVar[_Locks | None] = ContextVar("held", default=None)


@contextmanager
def working(folder: Path | None = None) -> Iterator[None]:
    """Share the machine with other steps for as long as the body runs.

    What a step starts works under the lock of that step, and the processes of a data-parallel one
    under that of their first: waiting for each other they must not wait for one who waits for them.

    Args:
        folder: Where the lock files lie; one place per user of the machine unless told.
    """
    if _PART_OF_STEP in os.environ or os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    folder = folder or lock_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        door, queue, machine = (_opened(folder / f"{name}.lock", stack) for name in _NAMES)
        locks = _Locks(door, queue, machine)
        _take(locks.door, fcntl.LOCK_EX, "until others have ended what they time")
        fcntl.flock(locks.door, fcntl.LOCK_UN)
        _enter(locks, fcntl.LOCK_SH)
        token = _held.set(locks)
        os.environ[_PART_OF_STEP] = "1"
        try:
            yield
        finally:
            del os.environ[_PART_OF_STEP]
            _held.reset(token)


@contextmanager
def alone() -> Iterator[None]:
    """Have the machine alone inside a body that `working` surrounds; elsewhere change nothing."""
    locks = _held.get()
    if locks is None or locks.alone:
        yield
        return
    fcntl.flock(locks.door, fcntl.LOCK_SH)
    _leave(locks)
    _enter(locks, fcntl.LOCK_EX)
    locks.alone = True
    try:
        yield
    finally:
        locks.alone = False
        _leave(locks)
        _enter(locks, fcntl.LOCK_SH)


def lock_folder() -> Path:
    """Return the folder of the lock files: the same for all projects of one user and machine."""
    return Path(tempfile.gettempdir()) / f"seqlab-quiet-{os.getuid()}"


def _opened(path: Path, stack: ExitStack) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, handle)
    return handle


def _enter(locks: _Locks, kind: int) -> None:
    """Take the machine, in the order of asking. Who holds the machine never waits in the queue."""
    _take(locks.queue, fcntl.LOCK_EX, "for the machine")
    try:
        _take(locks.machine, kind, "for the machine")
    finally:
        fcntl.flock(locks.queue, fcntl.LOCK_UN)


def _leave(locks: _Locks) -> None:
    fcntl.flock(locks.machine, fcntl.LOCK_UN)


def _take(handle: int, kind: int, why: str) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waits %s", why)
        fcntl.flock(handle, kind)
