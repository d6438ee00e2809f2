"""Traces against literal loops over the same kernels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from seqlab.kernels import traces
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


@pytest.mark.parametrize("width", [1, 16, 20, 64, 100])
@pytest.mark.parametrize("piece", [1, 50, 1 << 20])
def test_csr_trace_is_that_of_the_loop(
    width: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_PIECE", piece)
    matrix = graph()
    place = traces.AddressMap().place
    starts, columns = place(41), place(matrix.nnz)
    values, x, y = place(matrix.nnz), place(30 * width), place(40 * width)
    expected: list[tuple[int, bool]] = []
    for row in range(40):
        for block in range(0, width, 64):
            vectors = range(block, min(block + 64, width), 16)
            expected.append((starts + 4 * (row + 1), False))
            for index in range(matrix.indptr[row], matrix.indptr[row + 1]):
                expected.append((columns + 4 * index, False))
                expected.append((values + 4 * index, False))
                for t in vectors:
                    expected.append((x + 4 * (matrix.indices[index] * width + t), False))
            for t in vectors:
                expected.append((y + 4 * (row * width + t), True))
    found = whole(traces.csr_spmm(matrix.indptr, matrix.indices, 30, width))
    assert list(zip(*found, strict=True)) == expected


def test_bsr_trace_visits_the_tiles() -> None:
    rng = np.random.default_rng(0)
    weight = rng.random((32, 48)) * (rng.random((32, 48)) < 0.01)
    stored = BsrWeight.of(weight, 16)
    addresses, writes = whole(traces.bsr_spmm(stored.indptr, stored.indices, 16, 48, 32))
    per_tile = 1 + 16 + 16 * 16
    assert len(addresses) == 2 * (2 * (1 + 16) + stored.tiles * per_tile)
    assert writes.sum() == 2 * 32
    # Each row of X that meets a tile is loaded once per tile and vector.
    x = traces.AddressMap()
    first = [x.place(3), x.place(stored.tiles), x.place(stored.tiles * 256), x.place(48 * 32)][3]
    loads = (addresses >= first) & (addresses < first + 48 * 32 * 4)
    assert loads.sum() == stored.tiles * 16 * 2


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
