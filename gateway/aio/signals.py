"""Defers signals that arrive before their handlers are installed; ends commands in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["TAKEN", "ending_as_interrupted", "hold", "release"]

TAKEN: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that a serving process handles."""


def hold(*numbers: signal.Signals) -> None:
    """Defer signals to this process, and to those it starts, until they are released."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def release(*numbers: signal.Signals) -> None:
    """Deliver deferred signals, and those to come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextmanager
def ending_as_interrupted() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP end what runs as Ctrl-C does, by KeyboardInterrupt: so that it removes what it has begun.

    Yields the numbers of those that came. Does nothing outside the main thread, nor with a signal that was ignored on
    purpose, as by ``nohup``.
    """
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)

    is_main = threading.current_thread() is threading.main_thread()
    taken = [each for each in (signal.SIGTERM, signal.SIGHUP) if is_main and signal.getsignal(each) is signal.SIG_DFL]
    for each in taken:
        signal.signal(each, end)
    try:
        yield came
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)
