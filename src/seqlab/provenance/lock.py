"""A lock for long jobs: one living process at a time, named in the message when it is held.

The kernel frees the lock when its holder dies, however it dies, so a lock is never left behind.
The file keeps the holder's process number and start time, only for the message.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqlab.errors import UserError
from seqlab.provenance.atomic import explain_os_error

_POLL_S = 0.1


@contextmanager
def file_lock(
    path: str | Path, *, what: str = "this folder", wait_s: float = 0.0
) -> Iterator[None]:
    """Hold the lock file `path` while the body runs.

    Args:
        path: The lock file; it stays behind, empty, because removing it would let two processes
            lock two different files of that name.
        what: What is locked, for the message.
        wait_s: How long to wait for another holder, in seconds.

    Raises:
        UserError: Another living process holds the lock, or the file cannot be written.
    """
    path = Path(path)
    handle = _open(path)
    try:
        _acquire(handle, path, what, wait_s)
        _write_owner(handle)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def owner(path: str | Path) -> dict[str, Any] | None:
    """Return `{pid, started}` of the living holder of a lock file, None if nobody holds it."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_owner(handle)
    else:
        return None
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not inherited: a child that outlives this process must not keep the lock.
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        message = explain_os_error(error, path)
        if message is None:
            raise
        raise message from error


def _acquire(handle: int, path: Path, what: str, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise UserError(
                    f"cannot be locked: {error.strerror}",
                    where=str(path),
                    fix="put the project on a file system with locks",
                ) from error
        if time.monotonic() >= deadline:
            held = _read_owner(handle) or {}
            raise UserError(
                f"{what} is in use by process {held.get('pid', 'unknown')}"
                f" since {held.get('started', 'an unknown time')}",
                where=str(path),
                fix="wait until it ends, or end it",
            )
        time.sleep(_POLL_S)


def _write_owner(handle: int) -> None:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    text = json.dumps({"pid": os.getpid(), "started": started})
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)


def _read_owner(handle: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        # The holder has locked the file and not yet written its name.
        return {}
    return content if isinstance(content, dict) else {}
