"""Keep host names, user names, home folders and tokens out of everything that travels."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seqlab.errors import UserError

_TOKEN = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[A-Za-z0-9_-]{20,}"
    r"|AKIA[0-9A-Z]{16}|xox[abpr]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"
    r"|://[^/\s:@]+:[^/\s:@]+@"
)
_HOME = re.compile(r"(?:/home|/Users)/[^/\s\"']+|/root(?=/|$)|[A-Za-z]:\\Users\\[^\\\s\"']+")
_KEYS = frozenset(
    {"hostname", "host", "fqdn", "user", "username", "login", "home", "cwd", "token", "hf_token"}
    | {"password", "secret", "api_key", "ip", "ip_address", "mac_address"}
)
# Names that also occur as ordinary words in the description of a machine or a setting.
_ORDINARY = frozenset({"localhost", "linux", "darwin", "debian", "ubuntu", "laptop", "root", "cpu"})
_SHORT = 3


def without_private(value: Any) -> Any:
    """Return a copy of plain data in which home folders read `~` and tokens read `<token>`."""
    if isinstance(value, Mapping):
        return {str(key): without_private(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_private(item) for item in value]
    if isinstance(value, str):
        return _TOKEN.sub("<token>", _HOME.sub("~", _own_home().sub("~", value)))
    return value


def require_no_private(value: Any, where: str) -> None:
    """Refuse plain data that holds a host name, a user name, a home path or a token.

    Below a `spec` key only paths and tokens are looked for: a setting may be any word.

    Raises:
        UserError: Names the key, never the secret itself.
    """
    names = (("the host name", socket.gethostname()), ("the user name", _user()))
    patterns = {
        "a token or password": _TOKEN,
        "a home path": _HOME,
        "the home folder": _own_home(),
        **{kind: _word(name) for kind, name in names},
    }
    for key, kind in _findings(value, (), patterns):
        raise UserError(
            f"{key}: holds {kind}, which must not be stored",
            where=where,
            fix="remove it; records and manifests are made to be shared",
        )


def _findings(
    value: Any, path: tuple[str, ...], patterns: Mapping[str, re.Pattern[str]]
) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = (*path, str(key))
            if "spec" not in path and str(key).lower() in _KEYS and item is not None:
                yield ".".join(here), f"a private key ({key})"
            yield from _findings(item, here, patterns)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _findings(item, (*path, str(index)), patterns)
    elif isinstance(value, str):
        for kind, pattern in patterns.items():
            in_spec = "spec" in path and kind in ("the host name", "the user name")
            if not in_spec and pattern.search(value):
                yield ".".join(path) or "(top level)", kind


def _word(name: str) -> re.Pattern[str]:
    """Return a pattern of a name as a whole word; of nothing if it is an ordinary word."""
    if len(name) <= _SHORT or name.lower() in _ORDINARY:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return ""


def _own_home() -> re.Pattern[str]:
    try:
        home = str(Path.home())
    except RuntimeError:
        home = "/"
    return re.compile(re.escape(home) + r"(?=[/\\]|$)" if home != "/" else r"(?!)")
