"""Chooses the poller of grpc's server; imports no grpc, which reads the choice when it is imported."""

import os
from typing import Final

__all__ = ["choose_poller"]

_VARIABLE: Final = "GRPC_EXPERIMENTS"
_CHOICE: Final = "-event_engine_listener"


def choose_poller() -> None:
    """Have the thread that waits for grpc's events read and write the sockets too, unless the environment says else.

    By default, grpc reads and writes in threads of its own (its EventEngine), which wake that thread for each event.
    Without these wake-ups a call takes less processor time: docs/adr/0023-the-poller-of-the-grpc-server.md. A version
    of grpc that has no such choice any more serves as it does by default.
    """
    os.environ.setdefault(_VARIABLE, _CHOICE)
