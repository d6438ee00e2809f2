"""Verdicts in words, for tables and figures alike."""

from __future__ import annotations

# Only those whose word differs from their name.
_WORDS = {
    "not_run": "not run",
    "not_evaluable": "not evaluable",
    "degenerate": "no variance",
}


def verdict_word(verdict: str) -> str:
    """Return the verdict as words of a sentence; any other text as it stands."""
    return _WORDS.get(verdict, verdict)
