"""Signals that come before there is anybody to do what they mean: they wait."""

import signal
from typing import Final

__all__ = ["TAKEN", "hold", "release"]

TAKEN: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Those that mean something to a process that serves."""


def hold(*numbers: signal.Signals) -> None:
    """Let signals wait, until they are released, that come to this process or to what it starts from now on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def release(*numbers: signal.Signals) -> None:
    """Let signals through again, those that have waited first."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
