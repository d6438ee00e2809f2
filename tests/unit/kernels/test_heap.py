"""The allocator's settings, in a process of their own: they act on all of it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROBE = """
import ctypes, resource, sys
from seqlab.kernels.heap import default_blocks, keep_large_blocks

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
kept = faults()
assert default_blocks()
print(default, kept, faults(size=40 << 20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_blocks_are_reused_without_page_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60
    )
    mapped, kept, default = map(int, done.stdout.split())
    assert mapped >= 20
    assert kept < mapped / 10
    assert default >= 20
