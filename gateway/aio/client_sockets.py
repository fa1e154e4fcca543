"""Sockets for connections that aiohttp makes on an event loop of uvloop."""

import socket

from aiohttp import AddrInfoType

__all__ = ["client_socket"]


class _Socket(socket.socket):
    """Is closed by those who use it, and not by being collected.

    Where a connection is lost in the moment in which it is made, uvloop has closed the descriptor and has not told the
    socket. Its number may be another connection's by the time the socket is collected, which would be closed then.
    """

    def __del__(self) -> None:
        """Leave the descriptor to whom it belongs."""


def client_socket(address: AddrInfoType) -> socket.socket:
    """Make a socket; see ``socket_factory`` of `aiohttp.TCPConnector`."""
    family, kind, protocol, _, _ = address
    return _Socket(family, kind, protocol)
