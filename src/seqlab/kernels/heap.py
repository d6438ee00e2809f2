"""Keep freed memory in the process instead of giving it back to the kernel each time."""

from __future__ import annotations

import ctypes
import platform

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_NEVER_TRIM = 2**31 - 1


def keep_large_blocks() -> bool:
    """Let glibc serve large blocks from the heap and never shrink it.

    By default a block of more than a few MiB is mapped anew on each allocation, and every page of
    it faults on first use: a training step allocates the same activations again and again and pays
    about a tenth of its time for that. The price is that memory once used stays with the process.

    Returns:
        Whether it took effect; False where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER_TRIM))
