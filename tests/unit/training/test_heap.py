"""The allocator's settings, in a process of their own: they cannot be undone."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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

# By default a block over the threshold is mapped anew each time. glibc raises the threshold to the
# size of freed blocks, up to 32 MiB, and trims the heap instead; fixed, the loop shows the cost.
libc.mallopt(-3, 128 << 10)
default = faults()
assert keep_large_blocks()
faults()
print(default, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_blocks_are_reused_without_page_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60
    )
    default, kept = map(int, done.stdout.split())
    assert default >= 20
    assert kept < default / 10
