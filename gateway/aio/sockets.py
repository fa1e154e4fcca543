"""Addresses to listen on, and client sockets."""

import asyncio
import os
import socket
from dataclasses import dataclass

from aiohappyeyeballs import AddrInfoType

__all__ = ["Addresses", "cannot_listen", "client_socket", "join", "resolved"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses that the gateway listens on, as ``host:port``."""

    grpc: str
    edge: str
    admin: str


def cannot_listen(listener: str, host: str, port: int, error: OSError) -> OSError:
    """Return an error that says in one line which listener (its table in the settings) has no port, and why."""
    # Python appends the address to the operating system's text, but not if a name does not resolve.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    return OSError(f"{listener}: cannot listen on {join(host, port)}: {reason}")


def join(host: str, port: int) -> str:
    """Join host and port, with brackets around an IPv6 address (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolved(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Resolve an address to listen on (empty for all) to distinct pairs of family and address.

    Raises:
        OSError: The name does not resolve.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return sorted({(int(family), (str(address[0]), int(address[1]))) for family, _, _, _, address in found})


class _Socket(socket.socket):
    """A socket that is closed by its users, not by garbage collection.

    If a connection is lost while being established, uvloop closes the descriptor without telling the socket. By the
    time the socket is collected, its number may be another connection's, which would be closed instead.
    """

    def __del__(self) -> None:
        """Leave the descriptor alone."""


def client_socket(address: AddrInfoType) -> socket.socket:
    """Return a socket; see ``socket_factory`` of `aiohappyeyeballs.start_connection`."""
    family, kind, protocol, _, _ = address
    return _Socket(family, kind, protocol)
