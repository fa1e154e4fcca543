"""The ports that workers share, held by their supervisor for as long as it lives."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from gateway.aio.addresses import cannot_listen, resolved

__all__ = ["Port"]


@dataclass(frozen=True, slots=True)
class Port:
    """A port that several processes of ours may listen on, and nobody else.

    What the supervisor binds here does not listen, so no connection comes to it. While it is bound the port cannot go
    to anybody else, not even between the death of the last worker and the start of the next one.
    """

    held: tuple[socket.socket, ...]
    """A bound socket for each address."""

    @classmethod
    async def reserve(cls, listener: str, host: str, port: int) -> Self:
        """Take a port.

        Args:
            listener: Its table in the settings.
            host: Address to listen on.
            port: TCP port; 0 takes a free one.

        Raises:
            OSError: Somebody has it.
        """
        held: list[socket.socket] = []
        try:
            for family, (address, number) in await resolved(host, port):
                # Two that share would let a second supervisor in as well, so it is tried without sharing first.
                socket.create_server((address, number), family=family).close()
                held.append(_held(family, (address, number or _number(held))))
        except OSError as error:
            _close(held)
            raise cannot_listen(listener, host, port, error) from error
        return cls(tuple(held))

    @property
    def number(self) -> int:
        """The TCP port."""
        return _number(self.held)

    def share(self) -> list[socket.socket]:
        """Bind further sockets, one for each address: a worker's share. None of them listens yet.

        Raises:
            OSError: The system has no more sockets.
        """
        return [_bound(each.family, each.getsockname()[:2], reuses_address=True) for each in self.held]

    def close(self) -> None:
        """Give the port back."""
        _close(self.held)


def _number(held: Sequence[socket.socket]) -> int:
    return int(held[0].getsockname()[1]) if held else 0


def _close(held: Sequence[socket.socket]) -> None:
    for each in held:
        each.close()


def _held(family: int, address: tuple[str, int]) -> socket.socket:
    try:
        # Keeps others out even while nobody listens.
        return _bound(family, address, reuses_address=False)
    except OSError:
        # Of a process that had the port for itself, connections may linger for a minute.
        return _bound(family, address, reuses_address=True)


def _bound(family: int, address: tuple[str, int], *, reuses_address: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuses_address))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # The other family has a socket of its own.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
