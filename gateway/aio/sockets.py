"""Addresses to listen on, and the sockets of clients."""

import asyncio
import os
import socket
from dataclasses import dataclass

from aiohttp import AddrInfoType

__all__ = ["Addresses", "cannot_listen", "client_socket", "join", "resolved"]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the gateway listens, as ``host:port``."""

    grpc: str
    edge: str
    admin: str


def cannot_listen(listener: str, host: str, port: int, error: OSError) -> OSError:
    """Make the error that says in one line which listener cannot have its port, and why.

    Args:
        listener: Its table in the settings.
        host: Address to listen on.
        port: TCP port.
        error: What the system says of it.
    """
    # What Python adds to the system's own word is the address once more. Of a name that does not resolve it adds none.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    return OSError(f"{listener}: cannot listen on {join(host, port)}: {reason}")


def join(host: str, port: int) -> str:
    """Join host and port; an IPv6 address gets its brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolved(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Find what there is to listen on: a family and an address each, none twice.

    Args:
        host: Address or name; empty for all.
        port: TCP port.

    Raises:
        OSError: There is nothing of that name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return sorted({(int(family), (str(address[0]), int(address[1]))) for family, _, _, _, address in found})


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
