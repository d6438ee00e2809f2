"""Benches: ours against a peer on the same input, one module per bench.

A bench is a module of this package with `run(quick: bool, budget_s: float) -> Iterator[dict]`; each
row it yields is one JSON line of `python -m seqlab bench NAME`.
"""

from __future__ import annotations

import pkgutil

_NOT_BENCHES = {"harness", "record"}


def available() -> list[str]:
    """Return the names of all benches, sorted, without importing any of them."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name not in _NOT_BENCHES and not name.startswith("_"))
