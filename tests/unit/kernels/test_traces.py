"""Traces against literal loops over the same kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from seqlab.kernels import sparse, traces
from seqlab.kernels.cachesim import Hierarchy, Level
from seqlab.kernels.sparse import BsrWeight


def whole(trace: traces.Trace) -> tuple[np.ndarray, np.ndarray]:
    pieces = list(trace)
    return (
        np.concatenate([addresses for addresses, _ in pieces]),
        np.concatenate([writes for _, writes in pieces]),
    )


def graph(seed: int = 0, rows: int = 40, columns: int = 30) -> scipy.sparse.csr_array:
    rng = np.random.default_rng(seed)
    return scipy.sparse.csr_array((rng.random((rows, columns)) < 0.2).astype(np.float32))


class Seen:
    """Stands in for the vector operations and notes what a kernel loads and stores."""

    def __init__(self, bases: dict[str, int]) -> None:
        self.bases = bases
        self.accesses: list[tuple[int, bool]] = []

    def array(self, name: str, values: np.ndarray) -> Any:
        return Watched(values, self, self.bases[name])


class Watched:
    """An array whose element reads are noted; vectors are noted by `load` and `store`."""

    def __init__(self, values: np.ndarray, seen: Seen, base: int) -> None:
        self.values, self.seen, self.base = values, seen, base
        self.shape = values.shape

    def __getitem__(self, index: Any) -> Any:
        flat = np.ravel_multi_index(np.atleast_1d(index).astype(int), self.shape)
        self.seen.accesses.append((self.base + 4 * int(flat), False))
        return self.values[index]

    def vector(self, row: int, column: int, write: bool) -> None:
        address = self.base + 4 * (int(row) * self.shape[1] + int(column))
        self.seen.accesses.append((address, write))


def watched_kernel(monkeypatch: pytest.MonkeyPatch, name: str, *arrays: Any) -> None:
    """Run the source of a kernel in plain Python on watched arrays."""
    source = Path(sparse.__file__).read_text()
    source = source.replace("prange", "range").split("@device", 1)[1]
    zero = np.zeros(16, np.float32)

    def load(array: Any, row: int, column: int, *_: Any) -> Any:
        array.vector(row, column, False)
        return zero

    def store(array: Any, row: int, column: int, *_: Any) -> None:
        array.vector(row, column, True)

    def store_four(array: Any, row: int, column: int, *_: Any) -> None:
        for offset in range(0, 64, 16):
            array.vector(row, column + offset, True)

    names = {
        "Any": Any,
        "np": np,
        "LANES": 16,
        "_BLOCK": 64,
        "device": lambda f: f,
        "kernel": lambda signature: lambda f: f,
        "load": load,
        "load_part": load,
        "store": store,
        "store_four": store_four,
        "store_part": store,
        "splat": lambda value: zero,
        "fma": lambda a, b, c: c,
        "add": lambda a, b: a,
    }
    exec(compile("@device" + source, "sparse", "exec"), names)
    names[name](*arrays)


def expected_accesses(accesses: list[tuple[int, bool]], starts: range) -> list[tuple[int, bool]]:
    """Drop the reads of row starts: one pass reads both ends, once in a register the first."""
    return [access for access in accesses if access[0] not in starts]


@pytest.mark.parametrize("width", [1, 8, 16, 32, 64, 80, 128])
@pytest.mark.parametrize("piece", [1, 50, 1 << 20])
def test_csr_trace_is_that_of_the_kernel(
    width: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_PIECE", piece)
    matrix = graph()
    place = traces.AddressMap().place
    bases = {"indptr": place(41), "indices": place(matrix.nnz), "values": place(matrix.nnz)}
    bases |= {"x": place(30 * width), "y": place(40 * width)}
    seen = Seen(bases)
    watched_kernel(
        monkeypatch,
        "_csr_kernel",
        seen.array("indptr", matrix.indptr),
        seen.array("indices", matrix.indices),
        seen.array("values", matrix.data),
        seen.array("x", np.zeros((30, width))),
        seen.array("y", np.zeros((40, width))),
        np.array([0, 40]),
    )
    found = list(
        zip(*whole(traces.csr_spmm(matrix.indptr, matrix.indices, 30, width)), strict=True)
    )
    starts = range(bases["indptr"], bases["indptr"] + 4 * 41)
    # Elements are unrolled by two or four, which reorders accesses between neighbours only.
    ours, kernel = (expected_accesses(part, starts) for part in (found, seen.accesses))
    assert sorted(ours) == sorted(kernel)
    per_row = [[access for access in part if access[1]] for part in (ours, kernel)]
    assert per_row[0] == per_row[1]


@pytest.mark.parametrize("width", [16, 32, 64, 80])
@pytest.mark.parametrize("tile", [8, 16])
def test_bsr_trace_is_that_of_the_kernel(
    width: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    stored = BsrWeight.of(rng.random((32, 48)) * (rng.random((32, 48)) < 0.01), tile)
    place = traces.AddressMap().place
    bases = {"indptr": place(32 // tile + 1), "indices": place(stored.tiles)}
    bases |= {"values": place(stored.tiles * tile**2), "x": place(48 * width)}
    bases["y"] = place(32 * width)
    seen = Seen(bases)
    watched_kernel(
        monkeypatch,
        "_bsr_kernel",
        seen.array("indptr", stored.indptr),
        seen.array("indices", stored.indices),
        seen.array("values", stored.values),
        seen.array("x", np.zeros((48, width))),
        seen.array("y", np.zeros((32, width))),
        np.array([0, 32 // tile]),
    )
    trace = traces.bsr_spmm(stored.indptr, stored.indices, tile, 48, width)
    found = list(zip(*whole(trace), strict=True))
    starts = range(bases["indptr"], bases["indptr"] + 4096)
    ours, kernel = (expected_accesses(part, starts) for part in (found, seen.accesses))
    assert {address for address, _ in ours} == {address for address, _ in kernel}
    x = range(bases["x"], bases["y"])
    assert [a for a in ours if a[0] in x or a[1]] == [a for a in kernel if a[0] in x or a[1]]


@pytest.mark.parametrize("width", [0, 12, 20, 100])
def test_rows_that_straddle_lines_are_refused(width: int) -> None:
    matrix = graph()
    with pytest.raises(ValueError, match="straddle"):
        traces.csr_spmm(matrix.indptr, matrix.indices, 30, width)


def test_dense_trace_reads_every_weight_once_per_vector() -> None:
    addresses, writes = whole(traces.dense_gemm(10, 6, 16))
    assert writes.sum() == 10
    assert len(addresses) == 10 * 6 + 3 * 6 + 10
    weights = addresses[(addresses >= 4096) & (addresses < 8192)]
    assert sorted(weights) == [4096 + 4 * i for i in range(60)]


def test_scalar_gather_reads_both_arrays() -> None:
    addresses, writes = whole(traces.gather_scalars(np.array([0, 2, 3]), np.array([5, 1, 5]), 8))
    assert not writes.any()
    base = [4096, 8192, 12288]
    assert addresses.tolist() == [
        address
        for index, neuron in enumerate([5, 1, 5])
        for address in (base[0] + 4 * index, base[1] + 4 * neuron, base[2] + 4 * neuron)
    ]


def test_one_line_of_cache_hits_as_often_as_the_walk_stays_in_its_block() -> None:
    """The share of steps inside a block is the hit rate of a cache of one line (spec 1.3)."""
    rng = np.random.default_rng(0)
    n, block = 256, 16
    same = np.arange(n)[:, None] // block == np.arange(n)[None, :] // block
    edges = np.triu(rng.random((n, n)) < np.where(same, 0.8, 0.1), 1)
    matrix = scipy.sparse.csr_array((edges | edges.T).astype(np.float64))
    dense = matrix.toarray()
    for positions in (np.arange(n), rng.permutation(n)):
        together = positions[:, None] // block == positions[None, :] // block
        expected = dense[together].sum() / dense.sum()
        walk = traces.random_walk(matrix.indptr, matrix.indices, 100_000, 3)
        cache = Hierarchy([Level(64, 1)])
        cache.access((positions[walk] * 4).astype(np.uint64))
        rate = cache.counts().levels[0].hit_rate
        assert rate == pytest.approx(expected, abs=0.01)


def test_a_walk_follows_edges_and_starts_anew_where_there_are_none() -> None:
    matrix = graph(rows=30)
    matrix = scipy.sparse.csr_array(matrix.toarray() * (np.arange(30) > 4)[:, None])
    walk = traces.random_walk(matrix.indptr, matrix.indices, 5000, 0)
    stuck = np.diff(matrix.indptr)[walk[:-1]] == 0
    dense = matrix.toarray()
    assert (dense[walk[:-1], walk[1:]][~stuck] == 1).all()
    assert stuck.any() and len(set(walk)) > 20
