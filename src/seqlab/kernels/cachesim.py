"""Set-associative caches with LRU replacement, simulated on exact address traces.

Every access looks up the levels from the first on until one holds its line; that line then enters
all levels above (write-allocate; a lower level keeps what an upper one evicts or holds: neither
inclusive nor exclusive). A dirty line that leaves a level is written to the next one that holds it,
and to memory if none does; that changes no replacement order and is no access. With two levels and
no counting of writes this is the model of valgrind's cachegrind.

A trace may be fed in pieces of any length: the state stays in the `Hierarchy`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Addresses = npt.NDArray[np.uint64]

# A tag is the number of a line plus one, times two, plus one if dirty; 0 is an empty way. At 32
# bits, half of what plain addresses take, the tags of a large level still fit a real cache.
_LARGEST_LINE = 2**31 - 2
_READS = np.zeros(0, np.bool_)


@dataclass(frozen=True)
class Level:
    """One cache.

    Attributes:
        size: Capacity in bytes.
        ways: Lines per set.
        line: Bytes per line, a power of two.
        name: Such as "L1".

    Raises:
        ValueError: The capacity is not a whole number of sets, or a number is not positive.
    """

    size: int
    ways: int
    line: int = 64
    name: str = ""

    def __post_init__(self) -> None:
        if min(self.size, self.ways, self.line) <= 0 or self.line & (self.line - 1):
            raise ValueError(f"{self}: size, ways and line must be positive, line a power of two")
        if self.size % (self.ways * self.line):
            raise ValueError(f"{self}: size is not a multiple of {self.ways} ways x {self.line} B")

    @property
    def sets(self) -> int:
        """Number of sets."""
        return self.size // (self.ways * self.line)


@dataclass(frozen=True)
class LevelCounts:
    """What reached one level.

    Attributes:
        name: Name of the level.
        accesses: Lookups: the misses of the level above.
        hits: Lookups that found their line.
        writebacks: Dirty lines that left this level.
    """

    name: str
    accesses: int
    hits: int
    writebacks: int

    @property
    def misses(self) -> int:
        """Lookups that did not find their line."""
        return self.accesses - self.hits

    @property
    def hit_rate(self) -> float | None:
        """Share of lookups that found their line; None if nothing reached the level."""
        return self.hits / self.accesses if self.accesses else None


@dataclass(frozen=True)
class Counts:
    """What a hierarchy has seen since it was last reset.

    Attributes:
        levels: One entry per level, from the first on.
        dram_read_bytes: Lines fetched from memory.
        dram_write_bytes: Dirty lines written to memory (those still in a cache are not in it).
    """

    levels: tuple[LevelCounts, ...]
    dram_read_bytes: int
    dram_write_bytes: int

    @property
    def dram_bytes(self) -> int:
        """Bytes moved between the last level and memory."""
        return self.dram_read_bytes + self.dram_write_bytes

    @property
    def global_hit_rate(self) -> float | None:
        """Share of all accesses that did not go to memory; None without accesses."""
        total = self.levels[0].accesses
        return 1.0 - self.levels[-1].misses / total if total else None


class Hierarchy:
    """Caches in front of a memory.

    Args:
        levels: The caches, from the one nearest to the processor on.

    Raises:
        ValueError: There is no level, or lines get shorter further down.
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        if not levels:
            raise ValueError("a hierarchy needs at least one level")
        if any(a.line > b.line for a, b in itertools.pairwise(levels)):
            raise ValueError("lines may not get shorter from one level to the next")
        self.levels = tuple(levels)
        # shift, sets, mask (of sets; -1 if not a power of two), ways, first tag; one row per level.
        first = np.cumsum([0, *(level.sets * level.ways for level in levels)])
        self._shape = np.array(
            [
                (level.line.bit_length() - 1, level.sets, _mask(level.sets), level.ways, start)
                for level, start in zip(levels, first, strict=False)
            ],
            np.int64,
        )
        self._tags = np.zeros(int(first[-1]), np.uint32)
        self._counts = np.zeros((len(levels), 3), np.int64)
        self._memory_writes = np.zeros(1, np.int64)

    def access(self, addresses: Addresses, writes: npt.NDArray[np.bool_] | None = None) -> None:
        """Look up addresses in order.

        Args:
            addresses: (n,) uint64 byte addresses; each lookup is of the one line that holds it.
            writes: (n,) which of them are writes; all are reads unless told.

        Raises:
            ValueError: An address lies beyond 2^31 lines, or the lengths differ.
        """
        if writes is not None and writes.shape != addresses.shape:
            raise ValueError(f"{addresses.shape[0]} addresses, {writes.shape[0]} write flags")
        if not _access(
            np.ascontiguousarray(addresses, np.uint64),
            _READS if writes is None else np.ascontiguousarray(writes, np.bool_),
            self._shape,
            self._tags,
            self._counts,
            self._memory_writes,
        ):
            raise ValueError("an address lies beyond 2^31 lines of the first level")

    def counts(self) -> Counts:
        """Return what has been seen since the last reset."""
        levels = tuple(
            LevelCounts(level.name or f"L{index + 1}", int(seen), int(hits), int(written))
            for index, (level, (seen, hits, written)) in enumerate(
                zip(self.levels, self._counts, strict=True)
            )
        )
        line = self.levels[-1].line
        return Counts(levels, levels[-1].misses * line, int(self._memory_writes[0]))

    def reset(self, *, empty: bool = False) -> None:
        """Set all counts to zero; the caches keep their lines unless they are to be `empty`."""
        self._counts[:] = 0
        self._memory_writes[:] = 0
        if empty:
            self._tags[:] = 0


def simulate(
    addresses: Addresses,
    levels: Sequence[Level],
    writes: npt.NDArray[np.bool_] | None = None,
) -> Counts:
    """Return the counts of one trace on caches that start empty; see `Hierarchy`."""
    hierarchy = Hierarchy(levels)
    hierarchy.access(addresses, writes)
    return hierarchy.counts()


def _mask(sets: int) -> int:
    return sets - 1 if sets & (sets - 1) == 0 else -1


@njit(cache=True, nogil=True, error_model="numpy")
def _access(
    addresses: Any, writes: Any, shape: Any, tags: Any, counts: Any, memory_writes: Any
) -> bool:
    """Run the trace; return False at the first address that does not fit a tag."""
    depth = shape.shape[0]
    shift0, mask0, ways0 = shape[0, 0], shape[0, 2], shape[0, 3]
    seen = hits = 0
    for index in range(addresses.shape[0]):
        address = addresses[index]
        dirty = np.uint32(writes[index]) if writes.shape[0] else np.uint32(0)
        number = np.int64(address >> np.uint64(shift0))
        if number < 0 or number > _LARGEST_LINE:
            return False
        seen += 1
        # The commonest case by far, apart from the general one: the line used last in its set.
        if mask0 >= 0:
            first = np.uint64((number & mask0) * ways0)
            if tags[first] >> np.uint32(1) == np.uint32(number + 1):
                tags[first] |= dirty
                hits += 1
                continue
        for level in range(depth):
            if level:
                counts[level, 0] += 1
            out = _touch(np.int64(address), dirty, shape, level, tags)
            if out & 1:
                if level:
                    counts[level, 1] += 1
                else:
                    hits += 1
                break
            # The write is remembered where the line enters first; further down it arrives as a
            # write-back.
            dirty = np.uint32(0)
            if out & 2:
                counts[level, 2] += 1
                gone = (out >> 2) << shape[level, 0]
                memory_writes[0] += _write_back(gone, shape, level + 1, tags)
    counts[0, 0] += seen
    counts[0, 1] += hits
    return True


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _set_of(number: Any, shape: Any, level: Any) -> Any:
    """Return the index of the first tag of the set of a line."""
    mask = shape[level, 2]
    chosen = number & mask if mask >= 0 else number % shape[level, 1]
    return np.uint64(shape[level, 4] + chosen * shape[level, 3])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _touch(address: Any, dirty: Any, shape: Any, level: Any, tags: Any) -> Any:
    """Move the line to the front of its set, whether it was there or not.

    Returns:
        Bit 0: it was there. Bit 1: a dirty line left for it; its number is in the bits above.
    """
    number = address >> shape[level, 0]
    wanted = np.uint32(number + 1)
    first = _set_of(number, shape, level)
    last = first + np.uint64(shape[level, 3])
    moved = tags[first]
    if moved >> np.uint32(1) == wanted:
        tags[first] = moved | dirty
        return np.int64(1)
    tags[first] = (wanted << np.uint32(1)) | dirty
    # Searching and making room in one pass: each way takes what stood before it.
    way = first + np.uint64(1)
    while way < last:
        current = tags[way]
        tags[way] = moved
        if current >> np.uint32(1) == wanted:
            tags[first] |= current & np.uint32(1)
            return np.int64(1)
        moved = current
        way += np.uint64(1)
    if moved & np.uint32(1):
        return (np.int64(moved >> np.uint32(1)) - 1) << 2 | 2
    return np.int64(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _write_back(address: Any, shape: Any, level: Any, tags: Any) -> int:
    """Mark the line dirty in the first level from `level` on that holds it; else count its bytes.

    Returns:
        Bytes written to memory.
    """
    for below in range(level, shape.shape[0]):
        number = address >> shape[below, 0]
        wanted = np.uint32(number + 1)
        first = _set_of(number, shape, below)
        for way in range(first, first + np.uint64(shape[below, 3])):
            if tags[way] >> np.uint32(1) == wanted:
                tags[way] |= np.uint32(1)
                return 0
    return 1 << shape[level - 1, 0]
