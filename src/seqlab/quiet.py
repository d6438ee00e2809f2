"""Give timings the machine alone, while all other work shares it.

Every step of the workflow works under a shared lock of the machine. To time something it takes the
lock alone: all others are asked by a signal to stand still, and go on where they were once it is
done. So jobs work side by side, and no timing has company. Waited for is what would not stand
still: the call of a library that a step is in, several threads, processes, a GPU, and what
`unbroken` surrounds. The kernel frees the locks of a killed process.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")

log = logging.getLogger(__name__)


# Ignored by a process that has no handler for it: one that ends while it is asked is not harmed.
_STAND_STILL = signal.SIGURG
# Between two looks whether the others stand still. One that was just entering is asked again.
_LOOK_S = 0.02
# Looks after which those that are waited for are named.
_MANY_LOOKS = 250
# Set in the environment of what a step starts.
_PART_OF_STEP = "SEQLAB_PART_OF_STEP"


@dataclass
class _Locks:
    """Open lock files of this process.

    Attributes:
        folder: Where they lie, beside a locked file `worker-PID` of each process that works.
        queue: Held by the one who is next at the machine.
        machine: Shared by those who work, exclusive while one of them times.
        interruptible: Whether this process shares the machine and may be asked to stand still.
        alone: Whether it holds the machine alone.
    """

    folder: Path
    queue: int
    machine: int
    interruptible: bool = False
    alone: bool = False


@dataclass
class _Stood:
    """How many seconds this process has stood still for others."""

    seconds: float = 0.0


_stood = _Stood()
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
        queue, machine = (_opened(folder / f"{name}.lock", stack) for name in ("queue", "machine"))
        locks = _Locks(folder, queue, machine)
        stack.enter_context(_handling(lambda: _stand_still(locks)))
        stack.enter_context(_listed(folder))
        if not (_taken(queue, fcntl.LOCK_EX) and _taken(machine, fcntl.LOCK_SH)):
            log.info("waits for the machine")
        _share(locks)
        token = _held.set(locks)
        os.environ[_PART_OF_STEP] = "1"
        try:
            yield
        finally:
            locks.interruptible = False
            del os.environ[_PART_OF_STEP]
            _held.reset(token)


@contextmanager
def alone() -> Iterator[None]:
    """Have the machine alone inside a body that `working` surrounds; elsewhere change nothing."""
    locks = _held.get()
    if locks is None or locks.alone:
        yield
        return
    before, locks.interruptible = locks.interruptible, False
    fcntl.flock(locks.machine, fcntl.LOCK_UN)
    fcntl.flock(locks.queue, fcntl.LOCK_EX)
    # Until the body has ended the queue is kept: whoever comes next sleeps in it and asks nobody.
    try:
        looks = 0
        while not _taken(locks.machine, fcntl.LOCK_EX):
            asked = _ask_others(locks.folder)
            looks += 1
            if looks == _MANY_LOOKS:
                log.info("waits until these processes stand still: %s", asked)
            time.sleep(_LOOK_S)
        locks.alone = True
        yield
    finally:
        locks.alone = False
        fcntl.flock(locks.machine, fcntl.LOCK_UN)
        _share(locks)
        locks.interruptible = before


@contextmanager
def unbroken() -> Iterator[None]:
    """Let those who want to time wait for the body: its own time counts, or it starts what would
    not stand still.
    """
    locks = _held.get()
    if locks is None or not locks.interruptible:
        yield
        return
    locks.interruptible = False
    try:
        yield
    finally:
        locks.interruptible = True


def map_in_threads(function: Callable[[A], R], items: Iterable[A], threads: int) -> list[R]:
    """Return the results of a function that lets go of the interpreter, in the order of the items.

    Threads go on when a step stands still: where there are several, those who want to time wait.
    """
    if threads == 1:
        return [function(item) for item in items]
    with unbroken(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def clock() -> float:
    """Return seconds of a clock that stands still when this process does; differences count."""
    while True:
        still, now = _stood.seconds, time.perf_counter()
        if still == _stood.seconds:  # else it stood still between the two
            return now - still


def lock_folder() -> Path:
    """Return the folder of the lock files: the same for all projects of one user and machine."""
    return Path(tempfile.gettempdir()) / f"seqlab-quiet-{os.getuid()}"


@contextmanager
def _handling(asked: Callable[[], None]) -> Iterator[None]:
    before = signal.signal(_STAND_STILL, lambda number, frame: asked())
    # Libraries go on with the system call they are in.
    signal.siginterrupt(_STAND_STILL, False)
    try:
        yield
    finally:
        signal.signal(_STAND_STILL, before)


@contextmanager
def _listed(folder: Path) -> Iterator[None]:
    """Let others find this process while it works."""
    path = folder / f"worker-{os.getpid()}"
    entering = path.with_name(f"entering-{os.getpid()}")
    with ExitStack() as stack:
        # Locked before it has the name that others look for: an unlocked one is a dead one.
        fcntl.flock(_opened(entering, stack), fcntl.LOCK_EX)
        entering.rename(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _ask_others(folder: Path) -> list[int]:
    """Ask all others to stand still; return their process ids."""
    asked = []
    for path in folder.glob("worker-*"):
        pid = int(path.name.removeprefix("worker-"))
        if pid == os.getpid():
            continue
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError), ExitStack() as stack:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            if _taken(handle, fcntl.LOCK_EX):
                # Of a process that was killed; its number may be another's by now.
                path.unlink(missing_ok=True)
            else:
                os.kill(pid, _STAND_STILL)
                asked.append(pid)
    return asked


def _stand_still(locks: _Locks) -> None:
    if not locks.interruptible or _has_company():
        return
    locks.interruptible = False
    begun = time.perf_counter()
    fcntl.flock(locks.machine, fcntl.LOCK_UN)
    _share(locks)
    _stood.seconds += time.perf_counter() - begun


def _has_company() -> bool:
    """Return whether what this process has begun would go on without it.

    On a GPU what is queued does, and so do the other processes of a data-parallel step.
    """
    # Asked in the middle of an import, torch may not have all its names yet.
    on_gpu = getattr(sys.modules.get("torch.cuda"), "is_initialized", lambda: False)
    return os.environ.get("WORLD_SIZE", "1") != "1" or bool(on_gpu())


def _share(locks: _Locks) -> None:
    """Share the machine, after those who asked for it before.

    Logs nothing: whom a signal interrupts may be writing.
    """
    fcntl.flock(locks.queue, fcntl.LOCK_EX)
    try:
        fcntl.flock(locks.machine, fcntl.LOCK_SH)
    finally:
        fcntl.flock(locks.queue, fcntl.LOCK_UN)
    locks.interruptible = True


def _opened(path: Path, stack: ExitStack) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, handle)
    return handle


def _taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
