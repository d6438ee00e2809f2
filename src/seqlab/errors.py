"""Errors that a user can act on: one message that says what, where and what to do."""

from __future__ import annotations


class UserError(Exception):
    """A failure whose message is meant for the user, not for a debugger.

    Args:
        what: The problem in one clause, naming the key and the value where there is one.
        where: The file, key or object at fault.
        fix: What the user should do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" — {self.fix}" if self.fix else ""
        return f"{place}{self.what}{advice}"


class Terminated(BaseException):
    """SIGTERM arrived; a BaseException so that no `except Exception` swallows it."""
