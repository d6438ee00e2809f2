"""What the machine can do at best: sustained matrix-product rate and memory bandwidth.

Measured, never taken from a data sheet, and in the same run as what is compared with it: a virtual
machine's limits move with its neighbours. Output: operations or bytes per second, the best of
several shapes and repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from seqlab.errors import UserError
from seqlab.measure.latency import Arm, CpuClock, collector_paused

# (rows, inner, columns) of products like those of the models here, and one large square.
SHAPES: tuple[tuple[int, int, int], ...] = (
    (1024, 256, 1024),
    (1024, 512, 256),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
)
_COPY_BYTES = 256 << 20
_SECONDS = 0.15


def matmul_roofline(threads: int, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> float:
    """Return the best sustained fp32 rate of a matrix product in FLOP/s.

    The better of torch's BLAS and oneDNN (weights packed beforehand) over `shapes`, where a product
    of (m, k) and (k, n) counts 2 m k n operations.

    Args:
        threads: Threads torch must be pinned to.
        shapes: (m, k, n) of the products tried.

    Raises:
        UserError: torch runs with another number of threads.
    """
    _require_threads(threads)
    generator = torch.Generator().manual_seed(0)
    best = 0.0
    for m, k, n in shapes:
        left = torch.randn(m, k, generator=generator)
        right = torch.randn(n, k, generator=generator)
        for product in _products(left, right):
            best = max(best, 2.0 * m * k * n / _shortest_s(product))
    return best


def copy_bandwidth(threads: int, nbytes: int = _COPY_BYTES) -> float:
    """Return the bandwidth of copying `nbytes` in memory, in bytes/s read plus written.

    Raises:
        UserError: torch runs with another number of threads.
    """
    _require_threads(threads)
    source = torch.zeros(nbytes // 4)
    target = torch.ones_like(source)
    return 2.0 * source.numel() * 4 / _shortest_s(lambda: target.copy_(source))


def read_bandwidth(threads: int, nbytes: int) -> float:
    """Return the bandwidth of reading a working set of `nbytes` over and over, in bytes/s.

    Reads it the way a matrix-vector product reads a weight, from whatever cache level holds
    `nbytes`; the roofline of batch-1 decoding, which reads every weight once per token.

    Raises:
        UserError: torch runs with another number of threads.
    """
    _require_threads(threads)
    width = 1024
    weight = torch.ones(max(nbytes // (4 * width), threads), width)
    vector = torch.ones(width)
    out = torch.empty(weight.shape[0])
    best = min(
        _shortest_s(lambda: torch.mv(weight, vector, out=out)),
        _shortest_s(weight.sum),
    )
    return weight.numel() * 4 / best


def _products(left: torch.Tensor, right: torch.Tensor) -> list[Arm]:
    """Return the ways to compute left @ right.T that this build of torch has."""
    out = torch.empty(left.shape[0], right.shape[0])
    found: list[Callable[[], object]] = [lambda: torch.mm(left, right.t(), out=out)]
    if torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(right, left.shape[0])
        linear = torch.ops.mkldnn._linear_pointwise
        found.append(lambda: linear(left, packed, None, "none", [], ""))
    return found


def _shortest_s(call: Arm) -> float:
    """Return the shortest duration of a call in seconds, over at least three calls."""
    clock = CpuClock()
    calls, spent_ns, shortest_ns = 0, 0, math.inf
    with torch.inference_mode(), collector_paused():
        call()
        while calls < 3 or spent_ns < _SECONDS * 1e9:
            duration = clock.time_ns(call)
            calls, spent_ns = calls + 1, spent_ns + duration
            shortest_ns = min(shortest_ns, duration)
    return shortest_ns * 1e-9


def _require_threads(threads: int) -> None:
    if torch.get_num_threads() != threads:
        raise UserError(
            f"torch uses {torch.get_num_threads()} threads, the roofline is asked for {threads}",
            fix="call seqlab.threads.pin_threads before importing torch",
        )
