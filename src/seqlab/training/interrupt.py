"""SIGTERM during training: finish the step, save, and only then end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from seqlab.errors import Terminated


class Interrupt:
    """Whether this process has been asked to end.

    Attributes:
        requested: SIGTERM has arrived.
    """

    def __init__(self) -> None:
        self.requested = False
        self._at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this context SIGTERM raises `Terminated` instead of waiting for the step to end.

        For work that takes long and changes nothing, such as an evaluation.
        """
        self._at_once = True
        try:
            if self.requested:
                raise Terminated("SIGTERM")
            yield
        finally:
            self._at_once = False

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._at_once:
            raise Terminated("SIGTERM")


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Catch SIGTERM in a flag within this context; the handler before is put back afterwards.

    Outside the main thread Python allows no handlers: the flag then stays False.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGTERM, interrupt._handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
