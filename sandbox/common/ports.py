"""Ports for processes that start again under the same address."""

import itertools
import secrets
import socket
from typing import Final

__all__ = ["free_ports"]

_PORTS: Final = range(14_000, 32_000)
"""Below the ephemeral port range: a process that is down for a while finds its port free."""
_START: Final = secrets.randbelow(len(_PORTS))
_UNTRIED: Final = itertools.chain(_PORTS[_START:], _PORTS[:_START])
"""In order from a random start: two ports of one process are never the same, those of two processes rarely."""


def free_ports(count: int) -> list[int]:
    """Ports on loopback that are free, and that this process has not been given before.

    Raises:
        RuntimeError: There are too few.
    """
    found = list(itertools.islice(filter(_is_free, _UNTRIED), count))
    if len(found) < count:
        raise RuntimeError("No port is free.")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
