"""The stack of signal handlers survives a library that leaves one of its own."""

from __future__ import annotations

import ctypes
import os
import signal

from seqlab.models.signal_stack import _Stack, signal_stack_kept


def current() -> tuple[int | None, int]:
    found = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.sp, found.flags


def test_a_stack_that_a_library_left_is_taken_away_again() -> None:
    before, memory = current(), ctypes.create_string_buffer(1 << 16)
    with signal_stack_kept():
        left = _Stack(ctypes.addressof(memory), 0, len(memory))
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(left), None) == 0
        assert current() == (left.sp, 0)
    assert current() == before
    handled = []
    previous = signal.signal(signal.SIGURG, lambda number, frame: handled.append(number))
    os.kill(os.getpid(), signal.SIGURG)
    signal.signal(signal.SIGURG, previous)
    assert handled == [signal.SIGURG]
