"""Simulated caches as settings, and how those of the machine are emptied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import model_validator

from seqlab.spec import Spec, setting

if TYPE_CHECKING:
    from seqlab.kernels.cachesim import Hierarchy


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


def hierarchy_of(caches: Sequence[CacheSpec]) -> Hierarchy:
    """Return empty simulated caches."""
    # Settings are read while the graph is built, which must load neither numba nor torch.
    from seqlab.kernels.cachesim import Hierarchy, Level

    return Hierarchy([Level(c.size, c.ways, c.line, c.name) for c in caches])


def evicting(caches: Sequence[CacheSpec], device: str = "cpu") -> Callable[[], object]:
    """Return a call after which every line has to come from memory: it writes twice the last cache.

    Args:
        caches: Simulated ones, for a machine that does not tell its own.
        device: Whose caches are emptied.
    """
    from seqlab.measure.latency import touch_buffer
    from seqlab.provenance.machine import describe_machine

    if device == "cpu":
        machine = describe_machine()
        last = int(machine["l3_bytes"] or machine["l2_bytes"] or caches[-1].size)
    else:
        import torch

        last = int(torch.cuda.get_device_properties(device).L2_cache_size)
    return touch_buffer(2 * last, device)
