"""Keep the stack that signals are handled on, whatever a library does to it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# <bits/ss_flags.h>: handlers run on the stack of what they interrupt.
_SS_DISABLE = 2


class _Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give this thread its alternate signal stack back after the body.

    OpenVINO leaves one of 10 kB. Once its models were gone the next signal that Python handled
    ended the process with a segmentation fault, and steps ask each other to stand still by signal.
    """
    library = ctypes.CDLL(None)
    before = _Stack()
    if not hasattr(library, "sigaltstack") or library.sigaltstack(None, ctypes.byref(before)):
        yield
        return
    try:
        yield
    finally:
        before.flags &= _SS_DISABLE
        library.sigaltstack(ctypes.byref(before), None)
