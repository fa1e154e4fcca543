"""A connection from its acceptance to its handshake, which begins when the ClientHello is there.

TLS takes memory and time; until a stranger has sent a ClientHello, its connection takes a file descriptor alone.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

from gateway.edge.server_connection import Connection

__all__ = ["Handshake", "reset"]

# A record of TLS: its type, two bytes of version, two bytes of length (RFC 8446, section 5.1).
_HEADER_BYTES: Final = 5
_MAX_RECORD_BYTES: Final = _HEADER_BYTES + 2**14
_HANDSHAKE_RECORD: Final = 22
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Handshake:
    """The handshake of an accepted connection."""

    def __init__(self, accepted: socket.socket, peer: str, block: str | None, deadline: float) -> None:
        """Initialise.

        Args:
            accepted: The connection.
            peer: Its address.
            block: The `address_block` of that; None for the proxy.
            deadline: When it must have ended, in the event loop's time.
        """
        self.socket = accepted
        self.peer = peer
        self.block = block
        self.deadline = deadline
        self.connection: Connection | None = None
        """The connection, once TLS has begun."""
        self.task: asyncio.Task[None] | None = None
        """What serves the connection, once TLS is to begin."""
        self.has_place = False
        """Whether it has a place among the connections."""
        self._timer: asyncio.TimerHandle | None = None
        self._expected_bytes = 1

    def await_hello(
        self, received: Callable[["Handshake"], None], missed: Callable[["Handshake"], None], seconds: float
    ) -> None:
        """Wait for the ClientHello, which stays in the socket.

        Args:
            received: Called once it is there, or anything that is none.
            missed: Called if the connection ends before, or the time is over.
            seconds: Time limit.
        """
        loop = asyncio.get_running_loop()

        def look() -> None:
            if (is_there := self._is_hello_there()) is None:
                return
            self._stop_waiting()
            (received if is_there else missed)(self)

        def give_up() -> None:
            self._stop_waiting()
            # The event loop may have been too busy to look.
            (received if self._is_hello_there() else missed)(self)

        # Most are there when the connection is accepted.
        if self._is_hello_there():
            received(self)
            return
        self._timer = loop.call_later(seconds, give_up)
        loop.add_reader(self.socket, look)

    def abort(self) -> None:
        """Close the connection at once."""
        self._stop_waiting()
        if self.task is not None:
            self.task.cancel()
        if self.connection is None:
            reset(self.socket)
        else:
            self.connection.abort()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            asyncio.get_running_loop().remove_reader(self.socket)

    def _is_hello_there(self) -> bool | None:
        """Return whether the first record is there, None if it may come; False if the connection has ended."""
        try:
            data = self.socket.recv(_MAX_RECORD_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return False
        # The kernel reports what is less than expected only when there will not be more.
        if len(data) < self._expected_bytes:
            return False
        expected = _record_bytes(data)
        if len(data) < expected:
            self._expect(expected)
            return None
        self._expect(1)
        return True

    def _expect(self, count: int) -> None:
        if count != self._expected_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._expected_bytes = count


def reset(connection: socket.socket) -> None:
    """Close a connection so that the kernel keeps nothing of it, not even a sender that does not close its side."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    connection.close()


def _record_bytes(data: bytes) -> int:
    """Return how long the record is that begins with `data`, as far as that is known."""
    if data[0] != _HANDSHAKE_RECORD:
        # No TLS: TLS refuses it.
        return 1
    if len(data) < _HEADER_BYTES:
        return _HEADER_BYTES
    return min(_HEADER_BYTES + int.from_bytes(data[3:_HEADER_BYTES]), _MAX_RECORD_BYTES)
