"""The allocator's settings, in a process of their own: they cannot be undone."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import ctypes, resource, sys
from seqlab.training.heap import keep_large_blocks

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def faults(size=8 << 20, times=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        block = libc.malloc(ctypes.c_size_t(size))
        ctypes.memset(ctypes.c_void_p(block), 1, size)
        libc.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

# By default a block over the threshold is mapped anew; the first free raises the threshold,
# which is why a larger one comes each time in real steps. Fix it as it is at first.
libc.mallopt(-3, 128 << 10)
default = faults()
assert keep_large_blocks()
faults()
print(default, faults())
"""


def test_freed_blocks_are_reused_without_page_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60
    )
    default, kept = map(int, done.stdout.split())
    assert default >= 20
    assert kept < default / 10
