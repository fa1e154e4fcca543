"""Defers signals that arrive before their handlers are installed."""

import signal
from typing import Final

__all__ = ["TAKEN", "hold", "release"]

TAKEN: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that a serving process handles."""


def hold(*numbers: signal.Signals) -> None:
    """Defer signals to this process, and to those it starts, until they are released."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def release(*numbers: signal.Signals) -> None:
    """Deliver deferred signals, and those to come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
