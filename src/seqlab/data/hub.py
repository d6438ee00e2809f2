"""Fetch a repository of the Hugging Face hub: resolve, download with retries, check every file.

Finished files stay in the download folder when a fetch fails or is killed, and the next one goes
on from there. Every file is compared with the hash in the repository's own listing: sha256 for
large files, the git object id for small ones.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from seqlab.data.network import is_loopback, online
from seqlab.errors import UserError
from seqlab.quiet import unbroken

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

# Seconds before the second and later attempts; within an attempt the library resumes by itself.
WAITS = (1.0, 5.0, 15.0)
_CHUNK = 1 << 22
_WORKERS = 4
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}

Choose = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Snapshot:
    """What was fetched.

    Attributes:
        repository: Hub id.
        kind: `model` or `dataset`.
        commit: Full commit hash, as the hub answered.
        sha256: Of every file, by its path in the repository.
        rehearsal: Whether the hub was a server on loopback.
    """

    repository: str
    kind: str
    commit: str
    sha256: dict[str, str]
    rehearsal: bool


@dataclass(frozen=True)
class _Entry:
    """One file of the listing: sha256 is None for files that git itself stores."""

    path: str
    size: int
    blob: str
    sha256: str | None


def resolve_commit(repository: str, kind: str, revision: str | None = None) -> str:
    """Return the commit of `revision` (a commit, branch or tag; None: the newest of `main`).

    Raises:
        UserError: No such repository or revision, no access, or no network.
    """
    from huggingface_hub import HfApi

    with online() as endpoint:
        return _resolve(HfApi(endpoint=endpoint), repository, kind, revision, WAITS)


def fetch_snapshot(
    repository: str,
    kind: str,
    revision: str | None,
    choose: Choose,
    folder: Path,
    waits: Sequence[float] = WAITS,
) -> Snapshot:
    """Download the files of a repository that `choose` picks from its listing into `folder`.

    Args:
        repository: Hub id, `owner/name`.
        kind: `model` or `dataset`.
        revision: Commit to fetch; None for the newest, whose hash is in the result.
        choose: Given all paths of the repository, returns those to fetch.
        folder: Download folder; files finished by an earlier attempt are not fetched again.
        waits: Seconds before each further attempt.

    Raises:
        UserError: No such repository or revision, no access, no network, a file whose hash is
            wrong each time, or a full disk.
    """
    from huggingface_hub import HfApi

    with online() as endpoint:
        api = HfApi(endpoint=endpoint)
        commit = _resolve(api, repository, kind, revision, waits)
        listing = _retry(lambda: _list(api, repository, kind, commit), repository, waits)
        chosen = choose(sorted(listing))
        entries = [listing[path] for path in chosen]
        size = sum(entry.size for entry in entries)
        log.info("%s at %s: %d files, %.1f MB", repository, commit, len(entries), size / 1e6)
        sha256 = _retry(
            lambda: _download(api, repository, kind, commit, entries, folder), repository, waits
        )
        return Snapshot(repository, kind, commit, sha256, is_loopback(endpoint))


def _resolve(
    api: HfApi, repository: str, kind: str, revision: str | None, waits: Sequence[float]
) -> str:
    def ask() -> str:
        info = api.repo_info(repository, repo_type=kind, revision=revision)
        if not info.sha:
            raise UserError("the hub answered no commit", where=f"hub:{repository}")
        return str(info.sha)

    return _retry(ask, repository, waits)


def _list(api: HfApi, repository: str, kind: str, commit: str) -> dict[str, _Entry]:
    from huggingface_hub.hf_api import RepoFile

    listing = {}
    for entry in api.list_repo_tree(repository, recursive=True, revision=commit, repo_type=kind):
        if not isinstance(entry, RepoFile):  # a folder
            continue
        _refuse_escape(entry.path, repository)
        lfs = entry.lfs
        listing[entry.path] = _Entry(
            entry.path, entry.size, entry.blob_id, lfs.sha256 if lfs is not None else None
        )
    return listing


def _refuse_escape(path: str, repository: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise UserError(f"file name {path!r} leaves its folder", where=f"hub:{repository}")


def _download(
    api: HfApi, repository: str, kind: str, commit: str, entries: list[_Entry], folder: Path
) -> dict[str, str]:
    api.snapshot_download(
        repository,
        repo_type=kind,
        revision=commit,
        local_dir=folder,
        allow_patterns=[glob.escape(entry.path) for entry in entries],
        max_workers=_WORKERS,
    )
    return {entry.path: _verified(folder / entry.path, entry, repository) for entry in entries}


class _WrongContentError(OSError):
    """A downloaded file is not what the listing says; it was removed and may be tried again."""


def _verified(path: Path, entry: _Entry, repository: str) -> str:
    """Return the sha256 of a downloaded file after comparing it with the listing."""
    if not path.is_file():
        raise _WrongContentError(f"{entry.path}: not downloaded")
    sha256 = hashlib.sha256()
    git = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
            if entry.sha256 is None:
                git.update(chunk)
    found, expected = (
        (sha256.hexdigest(), entry.sha256) if entry.sha256 else (git.hexdigest(), entry.blob)
    )
    if found != expected:
        path.unlink()
        name = "sha256" if entry.sha256 else "git object id"
        raise _WrongContentError(f"{entry.path}: expected {name} {expected}, found {found}")
    return sha256.hexdigest()


def _retry(action: Callable[[], Any], repository: str, waits: Sequence[float]) -> Any:
    """Run `action`, again after each of `waits` where the failure may be passing."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    for attempt, wait in enumerate([*waits, None], start=1):
        try:
            with unbroken():  # threads fetch, and servers wait for no one
                return action()
        except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            if wait is None or not _passing(error):
                raise _explained(error, repository, attempt) from error
            log.warning("%s: attempt %d failed: %s", repository, attempt, _first_line(error))
            time.sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _passing(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is None or status in _TRANSIENT_STATUS


def _explained(error: Exception, repository: str, attempts: int) -> UserError:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"hub:{repository}"
    if isinstance(error, GatedRepoError):
        return UserError(
            "access is restricted", where=where, fix="accept its terms on the hub, set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UserError(
            "no such repository, or no access to it",
            where=where,
            fix="check the id; for a private one set HF_TOKEN",
        )
    if isinstance(error, RevisionNotFoundError):
        return UserError(
            "no such revision", where=where, fix="correct config/hub.lock.yaml, or set it to null"
        )
    if isinstance(error, _WrongContentError):
        return UserError(
            f"wrong content after {attempts} attempts: {error}",
            where=where,
            fix="try later; if it stays, the repository or a proxy is at fault",
        )
    return UserError(
        f"not reachable after {attempts} attempts: {_first_line(error)}",
        where=where,
        fix="check the network (and HF_ENDPOINT), or fetch it elsewhere and use path:DIR",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
