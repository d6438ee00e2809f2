"""Whether this process may talk to the hub: never, except inside `online()`.

The libraries of Hugging Face read their switches from the environment when they are imported and
keep them in module constants, so both are set here. Telemetry is off in either state, and so is
the xet transfer, which checks no recorded sha256 and cannot be served by a plain mirror.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from seqlab.errors import UserError

_ALWAYS = (
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_XET",
    "HF_HUB_DISABLE_PROGRESS_BARS",
    "HF_HUB_DISABLE_UPDATE_CHECK",
)
_OFFLINE = "HF_HUB_OFFLINE"
_TRUE = {"1", "ON", "YES", "TRUE"}
# What the user had asked for before `set_offline` overwrote the variable.
_ASKED: dict[str, str | None] = {}
_HUB = "https://huggingface.co"


def set_offline() -> None:
    """Refuse every request to the hub from now on, in this process and its children."""
    _ASKED.setdefault(_OFFLINE, os.environ.get(_OFFLINE))
    _switch(offline=True)


@contextmanager
def online() -> Iterator[str]:
    """Allow requests to the hub in the body of the `with`; yield the address of the hub.

    The address is that of `HF_ENDPOINT` where it is set (a mirror, or a loopback server).

    Raises:
        UserError: The user has set `HF_HUB_OFFLINE`.
    """
    asked = _ASKED.get(_OFFLINE, os.environ.get(_OFFLINE)) or ""
    if asked.upper() in _TRUE:
        raise UserError(
            "HF_HUB_OFFLINE is set, and this step fetches from the hub",
            fix="unset HF_HUB_OFFLINE, or use vendored: or path: sources",
        )
    _ASKED.setdefault(_OFFLINE, os.environ.get(_OFFLINE))
    _switch(offline=False)
    try:
        yield (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
    finally:
        _switch(offline=True)


def is_loopback(address: str) -> bool:
    """Return whether a server of this machine stands in for the hub."""
    host = urlsplit(address).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _switch(*, offline: bool) -> None:
    values = dict.fromkeys(_ALWAYS, True) | {_OFFLINE: offline}
    constants = sys.modules.get("huggingface_hub.constants")
    for name, value in values.items():
        os.environ[name] = str(int(value))
        if constants is not None and hasattr(constants, name):
            setattr(constants, name, value)
    os.environ["TRANSFORMERS_OFFLINE"] = str(int(offline))
