"""Write a file or a folder as a whole or not at all.

Everything is written under a temporary name in the same folder, flushed to the disk and renamed,
so a killed job, a full disk or a power cut never leaves half an output under its final name.
Failures of the file system become one `UserError` that names the path, the cause and the fix.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqlab.errors import UserError

TEMPORARY_PREFIX = ".tmp-"

# CPython ignores SIGXFSZ when it starts, so a write over `ulimit -f` fails with EFBIG.
_CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("no space left on the disk", "free some space and run again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run again"),
    errno.EFBIG: ("the file would exceed the file size limit", "raise `ulimit -f` and run again"),
    errno.EROFS: ("the file system is read-only", "run in a folder that can be written"),
    errno.EACCES: ("not allowed to write here", "check owner and permissions of the folder"),
    errno.EPERM: ("not allowed to write here", "check owner and permissions of the folder"),
    errno.EISDIR: ("a folder stands where a file is to be written", "move the folder away"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "move that file away"),
    errno.EEXIST: ("a file stands where a folder is needed", "move that file away"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter name"),
    errno.ENOTEMPTY: ("another process wrote this folder meanwhile", "run one workflow at a time"),
    errno.EIO: ("the disk reported an input/output error", "check the disk and run again"),
}
# Failures that carry no file name because they happen on an open file.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the body succeeds.

    The temporary name keeps the last suffix, by which libraries choose a format. Missing parent
    folders are made. An existing file is replaced only by the finished one.

    Raises:
        UserError: The path cannot be written, found before the body runs where possible.
        FileNotFoundError: The body wrote nothing to the temporary path.
    """
    path = Path(path)
    temporary = _temporary(path)
    with _explained(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        _probe(temporary)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; swap it into place when the body succeeds.

    An older folder of that name is moved aside before the swap and removed after it.

    Raises:
        UserError: The folder cannot be written.
    """
    path = Path(path)
    temporary = _temporary(path)
    with _explained(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.mkdir()
        try:
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    _sync(Path(folder) / name)
                _sync(Path(folder))
            _swap(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync(path.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with the line ends it has."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON: sorted keys, shortest round-trip floats, final newline.

    Raises:
        ValueError: `value` holds NaN or an infinity, which JSON cannot express.
        TypeError: `value` holds something that is neither JSON nor a numpy scalar.
    """
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return the text that `write_json` writes; equal values give equal bytes."""
    return (
        json.dumps(
            value, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False, default=_plain
        )
        + "\n"
    )


def explain_os_error(error: BaseException, path: str | Path) -> UserError | None:
    """Return the message for a failed write to `path`, or None if it is not a disk failure.

    Libraries in Rust (safetensors, tokenizers) give the number only in their text.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(match.group(1))
    if number is None:
        return None
    what, fix = _CAUSES.get(number, (os.strerror(number), "check the path and run again"))
    return UserError(f"cannot write: {what}", where=str(path), fix=fix)


@contextmanager
def _explained(path: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not _is_about(error, path, temporary):
            raise
        message = explain_os_error(error, path)
        if message is None:
            raise
        raise message from error


def _is_about(error: Exception, path: Path, temporary: Path) -> bool:
    """Tell a failed write of `path` from an error of the body that concerns another file."""
    if not isinstance(error, OSError):
        return "(os error " in str(error) and not isinstance(error, UserError)
    if isinstance(error, FileNotFoundError):
        return False
    if error.errno in _DISK:
        return True
    places = (str(temporary), str(path), *(str(parent) for parent in path.parents))
    name = str(error.filename or "")
    return name in places or name.startswith(str(temporary) + os.sep)


def _temporary(path: Path) -> Path:
    name = f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    return path.parent / name


def _probe(temporary: Path) -> None:
    """Fail now rather than after hours of work if the folder cannot be written."""
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    os.unlink(temporary)


def _sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot flush folders; the rename is still atomic there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _swap(temporary: Path, path: Path) -> None:
    old = _temporary(path)
    had_old = path.exists()
    if had_old:
        os.rename(path, old)
    try:
        os.rename(temporary, path)
    except OSError:
        if had_old:
            os.rename(old, path)
        raise
    if had_old:
        shutil.rmtree(old)


def _plain(value: Any) -> Any:
    """Turn a numpy scalar or a path into its JSON form."""
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
