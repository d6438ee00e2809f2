"""Simulated caches as settings."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import model_validator

from seqlab.spec import Spec, setting


class CacheSpec(Spec):
    """One level of the simulated hierarchy."""

    name: str = setting("Name, such as L1.")
    size: int = setting("Capacity.", unit="bytes", ge=64)
    ways: int = setting("Lines per set.", ge=1)
    line: int = setting("Line length.", unit="bytes", default=64, ge=16)

    @model_validator(mode="after")
    def _check(self) -> CacheSpec:
        if self.size % (self.ways * self.line):
            raise ValueError(f"{self.name}: size is not a multiple of ways x line")
        if self.line & (self.line - 1):
            raise ValueError(f"{self.name}: line must be a power of two")
        return self


def check_caches(caches: Sequence[CacheSpec]) -> None:
    """Refuse a hierarchy whose levels are misnamed or whose lines get shorter further down.

    Raises:
        ValueError: With the fault.
    """
    names = [cache.name for cache in caches]
    if names[:2] != ["L1", "L2"] or len(set(names)) != len(names):
        raise ValueError("caches must be named L1, L2 and on, each once")
    lines = [cache.line for cache in caches]
    if lines != sorted(lines):
        raise ValueError("lines of the caches must not get shorter from one to the next")
