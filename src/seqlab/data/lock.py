"""`config/hub.lock.yaml`: the commit of every hub repository, or null while it is unresolved.

A hash is only ever written here from what a hub answered; nobody types one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seqlab.data.sources import parse_source, read_origin
from seqlab.errors import UserError
from seqlab.provenance.atomic import write_text

LOCK_FILE = Path("config/hub.lock.yaml")
_KINDS = {"model": "models", "dataset": "datasets"}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HEADER = """\
# Hub repositories and the commits they are taken at. null: not resolved yet; the first fetch takes
# the newest commit and writes it to the source.json of what it fetched. `python -m seqlab lock`
# copies those commits here. `--config locked=true` refuses what is still null. Write no hash by
# hand.
"""


@dataclass(frozen=True)
class HubLock:
    """The parsed lock file.

    Attributes:
        path: The file.
        commits: Commit or None, by kind (`model`, `dataset`) and repository.
    """

    path: Path
    commits: Mapping[str, Mapping[str, str | None]]

    def revision(self, kind: str, repository: str, *, locked: bool = False) -> str | None:
        """Return the commit to fetch, or None for the newest.

        Raises:
            UserError: The repository is not listed, or it is unresolved and `locked` is set.
        """
        if repository not in self.commits[kind]:
            raise UserError(
                f"{_KINDS[kind]}.{repository}: not listed",
                where=str(self.path),
                fix=f"add `{repository}: null` under {_KINDS[kind]}",
            )
        commit = self.commits[kind][repository]
        if commit is None and locked:
            raise UserError(
                f"{_KINDS[kind]}.{repository}: unresolved, and locked=true refuses that",
                where=str(self.path),
                fix="fetch once without locked=true, then run `python -m seqlab lock`",
            )
        return commit


def read_lock(path: Path = LOCK_FILE) -> HubLock:
    """Read the lock file.

    Raises:
        UserError: It is missing, has an unknown key, or holds something that is no commit hash.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        raise UserError("missing", where=str(path), fix=f"git checkout -- {path}") from None
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {error}", where=str(path)) from None
    if not isinstance(content, dict) or set(content) - set(_KINDS.values()):
        raise UserError(
            f"unknown keys; only {' and '.join(_KINDS.values())} are known", where=str(path)
        )
    commits = {kind: _commits(content.get(key), key, path) for kind, key in _KINDS.items()}
    return HubLock(path, commits)


def _commits(entries: Any, key: str, path: Path) -> dict[str, str | None]:
    if not isinstance(entries or {}, dict):
        raise UserError(f"{key}: expected `ID: COMMIT` lines", where=str(path))
    for repository, commit in (entries or {}).items():
        if commit is not None and not _COMMIT.fullmatch(str(commit)):
            raise UserError(
                f"{key}.{repository}: {commit!r} is not a full commit hash (40 hexadecimal digits)",
                where=str(path),
                fix="write null, and let a fetch resolve it",
            )
    return dict(entries or {})


def pin_fetched(folders: Iterable[Path], path: Path = LOCK_FILE) -> dict[str, str]:
    """Copy the commits of fetched folders into the lock file; return what was unresolved before.

    Folders of rehearsals, and of sources other than the hub, are passed over.

    Raises:
        UserError: Two folders, or a folder and the lock file, disagree on a commit.
    """
    lock = read_lock(path)
    commits = {kind: dict(entries) for kind, entries in lock.commits.items()}
    pinned: dict[str, str] = {}
    for folder in folders:
        origin = read_origin(folder)
        if origin.rehearsal or origin.revision is None:
            continue
        repository = parse_source(origin.source).name
        known = commits[origin.detail["kind"]].get(repository)
        if known not in (None, origin.revision):
            raise UserError(
                f"{repository}: fetched at {origin.revision}, locked at {known}",
                where=str(folder),
                fix="remove the folder to fetch the locked commit, or set the lock to null",
            )
        if known is None:
            pinned[repository] = origin.revision
        commits[origin.detail["kind"]][repository] = origin.revision
    if pinned:
        write_lock(commits, path)
    return pinned


def write_lock(commits: Mapping[str, Mapping[str, str | None]], path: Path = LOCK_FILE) -> None:
    """Write the lock file, sorted, with its explanation."""
    body = {key: dict(sorted(commits[kind].items())) for kind, key in _KINDS.items()}
    write_text(path, _HEADER + yaml.safe_dump(body, sort_keys=False, default_flow_style=False))
