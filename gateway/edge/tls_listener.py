"""Takes connections in: so many and no more, and none that does not get through its TLS handshake in time."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final, cast

import structlog

from gateway.aio.sockets import resolved
from gateway.edge.server_connection import Connection
from gateway.logging.throttled import ThrottledLog

__all__ = ["Listener"]

_BACKLOG: Final = 128
_PAUSE_SECONDS: Final = 1.0
_TLS_GOODBYE_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class Listener:
    """A TCP port with TLS.

    Unlike a server of asyncio's it counts connections from when they come in. Whoever never finishes the handshake
    takes a place too, for as long as it may.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        tls: ssl.SSLContext,
        *,
        max_connections: int,
        handshake_timeout_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            make: Makes what serves a connection.
            tls: Asked anew for each connection.
            max_connections: How many there may be at a time; a further one is closed at once.
            handshake_timeout_seconds: How long a handshake may take.
        """
        self._make = make
        self._tls = tls
        self._max_connections = max_connections
        self._handshake_timeout_seconds = handshake_timeout_seconds
        self._sockets: list[socket.socket] = []
        self._pauses: list[asyncio.TimerHandle] = []
        self._handshaking: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._full = ThrottledLog("edge_connection_limit_reached")
        self._failed = ThrottledLog("tls_handshake_failed")

    async def open(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Begin to take connections.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes a free one.
            reuse_port: Whether other processes may listen there too.

        Returns:
            The port.

        Raises:
            OSError: The port cannot be had.
        """
        for family, address in await resolved(host, port):
            self._sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG, reuse_port=reuse_port))
        for listening in self._sockets:
            listening.settimeout(0)
            self._listen(listening)
        return int(self._sockets[0].getsockname()[1])

    async def close(self, lull_seconds: float = 0.0) -> None:
        """Take no further connections, and give up those that are still at their handshake; the others stay.

        Args:
            lull_seconds: How long a handshake may still take.
        """
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)
            # What waits to be taken would be reset.
            for _ in range(_BACKLOG):
                if not self._accept(listening):
                    break
            listening.close()
        for pause in self._pauses:
            pause.cancel()
        # What came in a moment ago has to begin before it can be given up.
        await asyncio.sleep(lull_seconds)
        await _cancel(self._handshaking)

    async def forget(self) -> None:
        """Wait for no connection any more; whose they are has closed them."""
        await _cancel(self._connections)

    def _listen(self, listening: socket.socket) -> None:
        # Not `sock_accept`: cancelled at the wrong moment, it loses the connection that it has just taken.
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> bool:
        """Take a connection; returns whether there was one."""
        loop = asyncio.get_running_loop()
        try:
            arrived, address = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            # Out of file descriptors or of memory: it is the others that have to go first.
            _log.error("edge_accept_failed", error=error.strerror)
            loop.remove_reader(listening)
            self._pauses.append(loop.call_later(_PAUSE_SECONDS, self._listen, listening))
            return False
        arrived.settimeout(0)
        peer = str(address[0])
        if len(self._connections) >= self._max_connections:
            arrived.close()
            self._full.warning(peer=peer, max_connections=self._max_connections)
            return True
        task = asyncio.create_task(self._serve(arrived, peer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return True

    async def _serve(self, arrived: socket.socket, peer: str) -> None:
        connection, task = self._make(), cast("asyncio.Task[None]", asyncio.current_task())
        self._handshaking.add(task)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                arrived,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_seconds,
                ssl_shutdown_timeout=_TLS_GOODBYE_SECONDS,
            )
        except OSError as error:
            # OpenSSL's reasons are constants; other texts may quote.
            reason = error.reason if isinstance(error, ssl.SSLError) else None
            self._failed.warning(peer=peer, error=reason or type(error).__name__)
            return
        finally:
            self._handshaking.discard(task)
        await connection.wait_lost()


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    cancelled = [*tasks]
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
