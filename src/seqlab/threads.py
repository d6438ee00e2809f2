"""Pin the number of compute threads, the same for every library of one process.

Several processes with two OpenMP threads each on two cores run ten times slower than with one
thread each, and OpenMP reads its variables once: pin before torch or numba is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def pin_threads(count: int) -> None:
    """Let every numerical library of this process use exactly `count` threads.

    Libraries that are already imported are told through their own calls. Numba cannot be given
    more threads than it started with, so a late call may only lower its number.

    Raises:
        ValueError: `count` is below one.
    """
    if count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    # NumPy and SciPy bring an OpenBLAS each, with pools of their own that spin against torch's.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in _VARIABLES:
        # Numba reads its variable again at every compilation and fails if it changed after its
        # threads were launched.
        if name != "NUMBA_NUM_THREADS" or "numba" not in sys.modules:
            os.environ[name] = str(count)
    # One OpenMP runtime serves torch and numba; `workqueue` is not safe for concurrent callers.
    os.environ.setdefault("NUMBA_THREADING_LAYER", "omp")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))


@contextmanager
def fewer_threads(count: int) -> Iterator[None]:
    """Let torch and numba use `count` threads inside the block, then as many as before.

    Raises:
        ValueError: `count` is below one, or more than the process was started with.
    """
    import numba
    import torch

    before = torch.get_num_threads(), numba.get_num_threads()
    if not 1 <= count <= min(before):
        raise ValueError(f"cannot go from {min(before)} threads to {count}")
    torch.set_num_threads(count)
    numba.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
