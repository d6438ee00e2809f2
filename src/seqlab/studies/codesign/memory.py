"""Caches as runs need them: simulated ones that are empty, and those of the machine emptied.

Apart from their settings, which every step reads: what is simulated must not be code of steps that
simulate nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seqlab.kernels.cachesim import Hierarchy, Level
from seqlab.measure.latency import touch_buffer
from seqlab.provenance.machine import describe_machine
from seqlab.studies.codesign.caches import CacheSpec


def hierarchy_of(caches: Sequence[CacheSpec]) -> Hierarchy:
    """Return empty simulated caches."""
    return Hierarchy([Level(c.size, c.ways, c.line, c.name) for c in caches])


def evicting(caches: Sequence[CacheSpec], device: str = "cpu") -> Callable[[], object]:
    """Return a call after which every line has to come from memory: it writes twice the last cache.

    Args:
        caches: Simulated ones, for a machine that does not tell its own.
        device: Whose caches are emptied.
    """
    if device == "cpu":
        machine = describe_machine()
        last = int(machine["l3_bytes"] or machine["l2_bytes"] or caches[-1].size)
    else:
        import torch

        last = int(torch.cuda.get_device_properties(device).L2_cache_size)
    return touch_buffer(2 * last, device)
