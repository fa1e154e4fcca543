"""The ports of a sandbox: the same at every start."""

import errno
import socket
from dataclasses import dataclass
from typing import Self

from sandbox.common.server import HOST
from sandbox.playground.errors import PlaygroundError

__all__ = ["Ports"]


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports, in the order of their layout from the base; 0 for any free one."""

    control: int
    """The control API."""
    d1: int
    threeds: int
    """The 3-D Secure server."""
    grpc: int
    """The gateway's gRPC listener."""
    edge: int
    """The gateway's listener for D1's callbacks."""
    admin: int
    """The gateway's metrics and probes."""

    @classmethod
    def of(cls, base: int) -> Self:
        """Return the ports from a base on; from 0, any free ports.

        Raises:
            PlaygroundError: One of them is taken.
        """
        if base == 0:
            return cls(0, 0, 0, 0, 0, 0)
        names = ("control API", "D1", "3-D Secure server", "gateway, gRPC", "gateway, callbacks", "gateway, admin")
        for port, name in enumerate(names, base):
            if problem := _problem(port):
                raise PlaygroundError(
                    f"port {port} ({name}) {problem}, or choose {len(names)} other ports with --port-base"
                )
        return cls(*range(base, base + len(names)))


def _problem(port: int) -> str:
    """Return why nothing can listen on a port, and what to do; empty if it is free."""
    with socket.socket() as tried:
        # As servers do: connections of an earlier sandbox that are not quite over do not matter.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is taken: end what listens there"
            return f"cannot be used: {error.strerror}; start the sandbox as a user who may"
    return ""
