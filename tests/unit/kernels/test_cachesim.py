"""The cache simulator against a literal LRU, analytic cases and cachegrind."""

from __future__ import annotations

import shutil
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from seqlab.kernels.cachesim import Counts, Hierarchy, Level, simulate
from seqlab.measure.cachegrind import data_misses

SMALL = (Level(512, 2), Level(2048, 4), Level(6 * 1024, 4))


class Literal:
    """A level as an ordered dictionary per set: slow, and obviously LRU."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.sets: list[OrderedDict[int, bool]] = [OrderedDict() for _ in range(level.sets)]
        self.accesses = self.hits = self.writebacks = 0

    def touch(self, address: int, dirty: bool) -> tuple[bool, int | None]:
        line = address // self.level.line
        ways = self.sets[line % self.level.sets]
        self.accesses += 1
        if line in ways:
            self.hits += 1
            ways[line] = ways.pop(line) or dirty
            return True, None
        ways[line] = dirty
        if len(ways) > self.level.ways:
            gone, was_dirty = ways.popitem(last=False)
            if was_dirty:
                self.writebacks += 1
                return False, gone * self.level.line
        return False, None

    def receive(self, address: int) -> bool:
        line = address // self.level.line
        ways = self.sets[line % self.level.sets]
        if line in ways:
            ways[line] = True
        return line in ways


def literal(addresses: np.ndarray, writes: np.ndarray, levels: tuple[Level, ...]) -> list[object]:
    caches = [Literal(level) for level in levels]
    written = 0
    for address, write in zip(addresses.tolist(), writes.tolist(), strict=True):
        dirty = write
        for index, cache in enumerate(caches):
            hit, gone = cache.touch(address, dirty)
            dirty = False
            if gone is not None and not any(c.receive(gone) for c in caches[index + 1 :]):
                written += cache.level.line
            if hit:
                break
    return [*((c.accesses, c.hits, c.writebacks) for c in caches), written]


def plain(counts: Counts) -> list[object]:
    levels = [(level.accesses, level.hits, level.writebacks) for level in counts.levels]
    return [*levels, counts.dram_write_bytes]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "levels",
    [
        SMALL,
        SMALL[:1],
        (Level(64, 1), Level(256, 1)),
        (Level(320, 5), Level(64 * 7 * 3, 3)),
        (Level(512, 2, 32), Level(4096, 4, 128)),
    ],
    ids=["three", "one", "direct-mapped", "odd sets", "longer lines below"],
)
def test_counts_equal_a_literal_lru(seed: int, levels: tuple[Level, ...]) -> None:
    rng = np.random.default_rng(seed)
    local = rng.integers(0, 1 << 11, 3000)
    far = rng.integers(0, 1 << 15, 3000)
    addresses = np.where(rng.random(3000) < 0.6, local, far).astype(np.uint64)
    writes = rng.random(3000) < 0.3
    assert plain(simulate(addresses, levels, writes)) == literal(addresses, writes, levels)


def test_a_trace_in_pieces_counts_like_the_whole() -> None:
    rng = np.random.default_rng(0)
    addresses = rng.integers(0, 1 << 14, 5000).astype(np.uint64)
    pieces = Hierarchy(SMALL)
    for piece in np.array_split(addresses, 7):
        pieces.access(piece)
    assert pieces.counts() == simulate(addresses, SMALL)
    pieces.reset(empty=True)
    pieces.access(addresses)
    assert pieces.counts() == simulate(addresses, SMALL)


def test_a_stream_misses_once_per_line() -> None:
    counts = simulate(np.arange(0, 1 << 16, 4, dtype=np.uint64), SMALL)
    lines = (1 << 16) // 64
    assert [level.misses for level in counts.levels] == [lines] * 3
    assert counts.levels[0].hit_rate == pytest.approx(15 / 16)
    assert counts.dram_bytes == 1 << 16


def test_what_fits_misses_only_the_first_time() -> None:
    once = np.arange(0, 2048, 64, dtype=np.uint64)
    counts = simulate(np.tile(once, 10), SMALL)
    assert counts.levels[1].misses == len(once)
    assert counts.levels[2].accesses == len(once)
    # The first level holds a quarter of it: a cyclic walk always misses under LRU.
    assert counts.levels[0].hits == 0


def test_a_stride_of_the_set_span_uses_one_set() -> None:
    level = Level(4096, 4)
    stride = level.sets * level.line
    fits = np.tile(np.arange(4, dtype=np.uint64) * stride, 5)
    thrashes = np.tile(np.arange(5, dtype=np.uint64) * stride, 5)
    assert simulate(fits, [level]).levels[0].misses == 4
    assert simulate(thrashes, [level]).levels[0].hits == 0


def test_written_lines_reach_memory_once_they_leave() -> None:
    level = Level(256, 4)
    addresses = np.arange(0, 512, 64, dtype=np.uint64)
    counts = simulate(addresses, [level], np.ones(8, np.bool_))
    assert counts.levels[0].writebacks == 4
    assert counts.dram_write_bytes == 4 * 64


@pytest.mark.parametrize(
    "make",
    [
        lambda: Level(100, 1),
        lambda: Level(0, 1),
        lambda: Level(96, 1, 48),
        lambda: Hierarchy([]),
        lambda: Hierarchy([Level(128, 1, 128), Level(256, 1, 64)]),
        lambda: simulate(np.array([1 << 40], np.uint64), SMALL),
        lambda: simulate(np.array([1 << 63], np.uint64), SMALL),
        lambda: simulate(np.zeros(2, np.uint64), SMALL, np.zeros(3, np.bool_)),
    ],
)
def test_bad_input_is_refused(make) -> None:
    with pytest.raises(ValueError):
        make()


GATHER = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define N (1 << 20)
#define READS (1 << 19)
int main(int argc, char **argv) {
    float *x = NULL; int32_t *index = NULL;
    posix_memalign((void **)&x, 4096, N * 4);
    posix_memalign((void **)&index, 4096, READS * 4);
    FILE *f = fopen(argv[1], "rb");
    if (!f || fread(index, 4, READS, f) != READS) return 1;
    memset(x, 0, N * 4);
    if (argc > 2) {
        float sum = 0;
        for (int i = 0; i < READS; i++) sum += x[index[i]];
        printf("%f\n", sum);
    }
    return 0;
}
"""


@pytest.mark.compiled
@pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("gcc")), reason="valgrind or gcc is missing"
)
def test_misses_equal_cachegrind_on_a_gather(tmp_path: Path) -> None:
    n, reads = 1 << 20, 1 << 19
    rng = np.random.default_rng(0)
    clustered = (np.arange(reads) * 2 + rng.integers(-4096, 4096, reads)).clip(0, n - 1)
    indices = np.where(rng.random(reads) < 0.5, clustered, rng.integers(0, n, reads))
    (tmp_path / "index.bin").write_bytes(indices.astype(np.int32).tobytes())
    (tmp_path / "gather.c").write_text(GATHER)
    levels = (Level(32768, 8), Level(1 << 20, 16))
    build = ["gcc", "-O1", "-o", tmp_path / "gather", tmp_path / "gather.c"]
    subprocess.run(build, check=True)

    def misses(*more: str) -> np.ndarray:
        found = data_misses([tmp_path / "gather", tmp_path / "index.bin", *more], *levels)
        return np.array([found.d1_reads, found.ll_reads])

    # The loop alone: the program with it less the program without.
    expected = misses("run") - misses()
    operand = np.uint64(4096) + indices.astype(np.uint64) * 4
    index = np.uint64(1 << 24) + np.arange(reads, dtype=np.uint64) * 4
    trace = np.stack([index, operand], axis=1).ravel()
    hierarchy = Hierarchy(levels)
    # The program's memset leaves the end of x in the caches.
    hierarchy.access(np.arange(4096, 4096 + 4 * n, 32, dtype=np.uint64))
    hierarchy.reset()
    hierarchy.access(trace)
    found = [level.misses for level in hierarchy.counts().levels]
    assert found == pytest.approx(expected, rel=0.01)
