"""Sparse products on CPU: K1 (CSR) and K2 (tiles) against scipy.sparse and torch.sparse.

Input: random weights of 4,096 x 4,096 with a density of elements (K1) or of tiles (K2), operands of
16 and 64 columns, one and two threads. Peers on the same arrays: scipy's CSR or BSR product (one
thread, whatever is asked for) and torch's. Agreement means equal products. Two more rows per
kernel and number of threads sum up: `geomean` and `worst` of our ratios to the better peer. A size
sweep of K2 gives the log-log slope of its time over the number of non-empty tiles.

The roofline of a product is its multiplications at the machine's best rate; it leaves the loads of
X, which are what a layout changes, out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from seqlab.bench.harness import Plan, compare, matmul_roofline
from seqlab.kernels.sparse import BsrWeight, CsrWeight

SIZE = 4096
DENSITIES = (0.3, 0.1, 0.01)
WIDTHS = (16, 64)
TILES = (16, 32)
SWEEP = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
TOLERANCE = 1e-4

_NAME = "spmm"
_SEED = 0


def run(quick: bool, budget_s: float) -> Iterator[dict[str, Any]]:
    """Yield one row per case and peer, then the summaries and the sweep.

    Args:
        quick: A small weight and few repeats, to test that the bench works.
        budget_s: Seconds the whole bench may time for.
    """
    most = torch.get_num_threads()
    size = 256 if quick else SIZE
    # Tests: one case of each kernel.
    few = 1 if quick else None
    tiles, widths, densities = TILES[:few], WIDTHS[:few], DENSITIES[:few]
    rng = np.random.default_rng(_SEED)
    counts = sorted({1, most})
    kinds = [("K1", 0), *(("K2", tile) for tile in tiles)]
    cases = len(counts) * len(kinds) * len(widths) * len(densities)
    plan = Plan.of(quick, 0.6 * budget_s / cases)
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            rate = matmul_roofline(threads, [(64, 64, 64)] if quick else [(1024, 1024, 1024)])
            for kernel, tile in kinds:
                label = f"{kernel} b{tile}" if tile else kernel
                rows = []
                for density in densities:
                    weight = _weight(size, density, max(tile, 1), rng)
                    for width in widths:
                        case = f"{label} n{size} d{density} T{width} threads {threads}"
                        found = list(_rows(case, weight, tile, width, plan, rate, threads, rng))
                        yield from found
                        rows += found
                yield _summary(f"{label} threads {threads}", rows)
        torch.set_num_threads(1)
        yield _slope(size, 16, plan, rng)
    finally:
        torch.set_num_threads(most)


def _weight(
    size: int, density: float, tile: int, rng: np.random.Generator
) -> scipy.sparse.csr_array:
    """Return a random matrix of which a share `density` of the tiles is full."""
    kept = rng.random((size // tile, size // tile)) < density
    values = rng.standard_normal((size, size)).astype(np.float32)
    mask = np.kron(kept, np.ones((tile, tile), np.bool_)) if tile > 1 else kept
    return scipy.sparse.csr_array(values * mask)


def _operand(size: int, width: int) -> Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(_SEED))


def _rows(
    case: str,
    weight: scipy.sparse.csr_array,
    tile: int,
    width: int,
    plan: Plan,
    rate: float,
    threads: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    x = _operand(weight.shape[1], width)
    ours: CsrWeight | BsrWeight = BsrWeight.of(weight, tile) if tile else CsrWeight.of(weight)
    yield from compare(
        _NAME,
        case,
        lambda: ours @ x,
        {"scipy": _scipy(weight, tile, x), "torch": _torch(weight, tile, x)},
        agree=lambda a, b: bool((a - torch.as_tensor(b)).norm() <= TOLERANCE * a.norm()),
        plan=plan,
        rng=rng,
        limit_s=2.0 * weight.nnz * width / rate,
    )


def _scipy(weight: scipy.sparse.csr_array, tile: int, x: Tensor) -> Callable[[], Any]:
    stored = weight.tobsr((tile, tile)) if tile else weight
    operand = x.numpy()
    return lambda: stored @ operand


def _torch(weight: scipy.sparse.csr_array, tile: int, x: Tensor) -> Callable[[], Any]:
    if tile:
        blocks = weight.tobsr((tile, tile))
        stored = torch.sparse_bsr_tensor(
            torch.from_numpy(blocks.indptr),
            torch.from_numpy(blocks.indices),
            torch.from_numpy(blocks.data),
            weight.shape,
        )
    else:
        stored = torch.sparse_csr_tensor(
            torch.from_numpy(weight.indptr),
            torch.from_numpy(weight.indices),
            torch.from_numpy(weight.data),
            weight.shape,
        )
    return lambda: stored @ x


def _summary(case: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the geometric mean and the worst of our ratios to the better peer of each case."""
    ratios = {
        name: min(row["ratio"] for row in rows if row["case"] == name)
        for name in dict.fromkeys(row["case"] for row in rows)
    }
    worst = min(ratios, key=lambda name: ratios[name])
    return {
        "name": _NAME,
        "case": case,
        "peer": "the better one",
        "agree": all(row["agree"] for row in rows),
        "geomean": float(np.exp(np.mean(np.log(list(ratios.values()))))),
        "worst": ratios[worst],
        "worst_case": worst,
    }


def _slope(size: int, tile: int, plan: Plan, rng: np.random.Generator) -> dict[str, Any]:
    """Return the slope of log time over log non-empty tiles, at one width and thread."""
    x = _operand(size, WIDTHS[-1])
    tiles, seconds = [], []
    for density in SWEEP:
        weight = BsrWeight.of(_weight(size, density, tile, rng), tile)
        product = partial(operator.matmul, weight, x)
        (row,) = compare(
            _NAME, "", product, {"again": product}, agree=torch.equal, plan=plan, rng=rng
        )
        tiles.append(weight.tiles)
        seconds.append(min(row["ours_min_s"], row["peer_min_s"]))
    slope = float(np.polyfit(np.log(tiles), np.log(seconds), 1)[0])
    return {
        "name": _NAME,
        "case": f"K2 b{tile} n{size} T{WIDTHS[-1]} threads 1",
        "peer": "itself with other numbers of tiles",
        "slope": slope,
        "tiles": tiles,
        "seconds": seconds,
    }
