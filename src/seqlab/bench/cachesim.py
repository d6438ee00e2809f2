"""The cache simulator: accesses per second, and its misses and time against cachegrind's.

Traces: `miss-heavy` (a K1 product of randomly placed rows whose operand exceeds the last level) and
`streaming` (reading an array far larger than the last level). Rows without a peer give accesses per
second of one core through three levels, simulation alone and with the generation of the trace.

The peer is valgrind's cachegrind, set to the same two levels, on a C program that does the same
gather; agreement means that D1 and LL misses of the gather differ by at most 1 %. Its time is that
of the whole run, which also executes the program.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seqlab.bench.harness import Plan, unavailable
from seqlab.kernels import traces
from seqlab.kernels.cachesim import Hierarchy, Level
from seqlab.measure.cachegrind import data_misses, missing_tool
from seqlab.measure.latency import once

THREE_LEVELS = (
    Level(32 << 10, 8, name="L1"),
    Level(1 << 20, 8, name="L2"),
    Level(32 << 20, 16, name="L3"),
)
TWO_LEVELS = (Level(32 << 10, 8, name="D1"), Level(1 << 20, 16, name="LL"))
TARGET_ACCESSES_PER_S = 20e6
TOLERANCE = 0.01

_NAME = "cachesim"
_SEED = 0
_PROGRAM = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* argv: file of int32 indices, their number, floats in x, number of passes */
int main(int argc, char **argv) {
    long reads = atol(argv[2]), n = atol(argv[3]), passes = atol(argv[4]);
    float *x = NULL, sum = 0;
    int32_t *index = NULL;
    if (posix_memalign((void **)&x, 4096, n * 4)) return 1;
    if (posix_memalign((void **)&index, 4096, reads * 4)) return 1;
    FILE *f = fopen(argv[1], "rb");
    if (!f || fread(index, 4, reads, f) != (size_t)reads) return 1;
    memset(x, 0, n * 4);
    for (long p = 0; p < passes; p++)
        for (long i = 0; i < reads; i++) sum += x[index[i]];
    printf("%f\n", sum);
    return 0;
}
"""


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield the rates of both traces, then the comparison with cachegrind.

    Args:
        quick: Short traces, to test that the bench works.
        budget_s: Seconds of simulation in all.
    """
    plan = Plan.of(quick, budget_s / 8)
    for case, trace in _traces(quick):
        yield _rate(case, trace, plan)
    yield _against_cachegrind(quick)


def _traces(quick: bool) -> Iterator[tuple[str, Callable[[], traces.Trace]]]:
    rows, stored, width = (64, 16, 64) if quick else (4096, 64, 64)
    operand_rows = 1 << (12 if quick else 19)
    rng = np.random.default_rng(_SEED)
    indptr = np.arange(0, rows * stored + 1, stored)
    indices = rng.integers(0, operand_rows, rows * stored)
    yield "miss-heavy", lambda: traces.csr_spmm(indptr, indices, operand_rows, width)
    elements = 1 << (16 if quick else 24)

    def stream() -> traces.Trace:
        piece = min(1 << 20, elements)
        for start in range(0, elements, piece):
            yield (np.arange(start, start + piece) * 4).astype(np.uint64), np.zeros(piece, np.bool_)

    yield "streaming", stream


def _rate(case: str, trace: Callable[[], traces.Trace], plan: Plan) -> dict[str, Any]:
    """Return accesses per second over as many runs as the plan allows; the best of them."""
    pieces = list(trace())
    accesses = sum(len(addresses) for addresses, _ in pieces)

    def simulate() -> Hierarchy:
        hierarchy = Hierarchy(THREE_LEVELS)
        for piece in pieces:
            hierarchy.access(*piece)
        return hierarchy

    def generate_and_simulate() -> None:
        hierarchy = Hierarchy(THREE_LEVELS)
        for piece in trace():
            hierarchy.access(*piece)

    hierarchy = simulate()
    generate_and_simulate()
    alone: list[float] = []
    both: list[float] = []
    started = time.perf_counter()
    while len(alone) < plan.fewest or time.perf_counter() - started < min(plan.budget_s, 10.0):
        alone.append(once(simulate)[1])
        both.append(once(generate_and_simulate)[1])
    rate = accesses / min(alone)
    return {
        "name": _NAME,
        "case": case,
        "peer": None,
        "accesses": accesses,
        "ours_s": float(np.median(alone)),
        "accesses_per_s": rate,
        "accesses_per_s_with_trace": accesses / min(both),
        "n_ours": len(alone),
        "hit_rates": {level.name: level.hit_rate for level in hierarchy.counts().levels},
        "target_accesses_per_s": TARGET_ACCESSES_PER_S,
        "within_target": rate >= TARGET_ACCESSES_PER_S,
    }


def _against_cachegrind(quick: bool) -> dict[str, Any]:
    case = "gather, two levels"
    missing = missing_tool() or (None if shutil.which("gcc") else "gcc is not installed")
    if missing:
        return unavailable(_NAME, case, "cachegrind", missing)
    n, reads = (1 << 18, 1 << 16) if quick else (1 << 22, 1 << 22)
    rng = np.random.default_rng(_SEED)
    near = (np.arange(reads) * n // reads + rng.integers(-4096, 4096, reads)).clip(0, n - 1)
    far = rng.integers(0, n, reads)
    indices = np.where(rng.random(reads) < 0.5, near, far).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        program = _built(Path(folder))
        data = Path(folder) / "index.bin"
        data.write_bytes(indices.tobytes())
        command: list[str | Path] = [program, data, str(reads), str(n)]
        with_gather, peer_s = once(lambda: data_misses([*command, "1"], *TWO_LEVELS))
        without = data_misses([*command, "0"], *TWO_LEVELS)
    _simulated(indices[:1024], n)
    ours, ours_s = once(lambda: _simulated(indices, n))
    expected = np.array(
        [with_gather.d1_reads - without.d1_reads, with_gather.ll_reads - without.ll_reads]
    )
    error = np.abs(ours - expected) / expected
    return {
        "name": _NAME,
        "case": f"{case}, {reads} reads",
        "ours_s": ours_s,
        "peer": "cachegrind",
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
        "ratio_ci": None,
        "agree": bool((error <= TOLERANCE).all()),
        "limit": None,
        "limit_fraction": None,
        "misses": dict(zip(("D1", "LL"), ours.tolist(), strict=True)),
        "peer_misses": dict(zip(("D1", "LL"), expected.tolist(), strict=True)),
        "relative_error": error.tolist(),
    }


def _simulated(indices: Any, n: int) -> Any:
    """Return (D1 misses, LL misses) of the gather: index, then element, for every read."""
    hierarchy = Hierarchy(TWO_LEVELS)
    base = 4096
    # The program's memset leaves the end of x in the caches.
    hierarchy.access(np.arange(base, base + 4 * n, 64, dtype=np.uint64))
    hierarchy.reset()
    index_base = base + 4 * n
    for start in range(0, len(indices), 1 << 20):
        part = indices[start : start + (1 << 20)]
        addresses = np.empty(2 * len(part), np.uint64)
        addresses[0::2] = index_base + 4 * np.arange(start, start + len(part), dtype=np.uint64)
        addresses[1::2] = base + 4 * part.astype(np.uint64)
        hierarchy.access(addresses)
    return np.array([level.misses for level in hierarchy.counts().levels])


def _built(folder: Path) -> Path:
    source, program = folder / "gather.c", folder / "gather"
    source.write_text(_PROGRAM)
    subprocess.run(["gcc", "-O1", "-o", program, source], check=True, capture_output=True)
    return program
