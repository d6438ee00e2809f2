"""Threads are pinned for libraries that are not imported yet, and for those that are."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from seqlab.threads import pin_threads

LATE = """
import os
os.environ.pop("NUMBA_NUM_THREADS", None)
import numba, numpy as np, torch
@numba.njit(parallel=True)
def total(x):
    out = 0.0
    for i in numba.prange(len(x)):
        out += x[i]
    return out
total(np.ones(8))
from seqlab.threads import pin_threads
pin_threads(1)
@numba.njit(parallel=True)
def again(x):
    out = 0.0
    for i in numba.prange(len(x)):
        out += 2 * x[i]
    return out
assert again(np.ones(8)) == 16.0
print(torch.get_num_threads(), numba.get_num_threads())
"""


def test_variables_are_set_before_the_libraries_are_imported() -> None:
    program = "from seqlab.threads import pin_threads; pin_threads(1); import torch, numba; "
    program += "print(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)"
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean, capture_output=True, text=True
    )
    assert done.stdout.split() == ["1", "1"], done.stderr


def test_a_late_call_lowers_the_number_and_compilation_still_works() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"], done.stderr


def test_less_than_one_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        pin_threads(0)


STARTED = """
import torch
torch.set_num_threads(1)
import seqlab.kernels.scan_numba
import numba
print(torch.get_num_threads(), end=" ")
from seqlab.kernels.jit import follow_torch_threads
follow_torch_threads()
print(torch.get_num_threads(), numba.get_num_threads())
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: nothing to tell apart")
def test_starting_numba_leaves_the_threads_of_torch() -> None:
    """Numba's start told their common OpenMP runtime how many threads to use from then on."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["1", "1", "1"]
