"""Accepts TLS connections, limited in number and in the time of their handshake."""

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
_ACCEPT_PAUSE_SECONDS: Final = 1.0
_TLS_SHUTDOWN_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class Listener:
    """A TCP port with TLS.

    Unlike an asyncio server, it counts connections from the moment they are accepted: one that never completes its
    handshake counts until the handshake times out.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        tls: ssl.SSLContext,
        *,
        max_connections: int,
        handshake_timeout_seconds: float,
    ) -> None:
        """Initialise.

        Args:
            make: Creates the protocol of a connection.
            tls: TLS context, consulted anew for each connection.
            max_connections: Connections at a time; excess ones are closed at once.
            handshake_timeout_seconds: Time limit for a handshake.
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
        """Start to accept connections, on any free port if `port` is 0; return the port.

        Raises:
            OSError: The port is not available.
        """
        for family, address in await resolved(host, port):
            self._sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG, reuse_port=reuse_port))
        for listening in self._sockets:
            listening.settimeout(0)
            self._listen(listening)
        return int(self._sockets[0].getsockname()[1])

    async def close(self, handshake_grace_seconds: float = 0.0) -> None:
        """Accept no further connections and abort pending handshakes; established connections stay.

        Args:
            handshake_grace_seconds: How long pending handshakes may still take.
        """
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)
            # The kernel would reset the connections that wait in the backlog.
            for _ in range(_BACKLOG):
                if not self._accept(listening):
                    break
            listening.close()
        for pause in self._pauses:
            pause.cancel()
        # Connections accepted just now need time for their handshake.
        await asyncio.sleep(handshake_grace_seconds)
        await _cancel(self._handshaking)

    async def cancel_connections(self) -> None:
        """Stop waiting for connections; their owner has closed them."""
        await _cancel(self._connections)

    def _listen(self, listening: socket.socket) -> None:
        # Not `sock_accept`: cancelled at the wrong moment, it loses the connection that it has just accepted.
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> bool:
        """Accept a connection; returns whether one was pending."""
        loop = asyncio.get_running_loop()
        try:
            accepted, address = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            # Out of file descriptors or memory: wait for other connections to end.
            _log.error("edge_accept_failed", error=error.strerror)
            loop.remove_reader(listening)
            self._pauses.append(loop.call_later(_ACCEPT_PAUSE_SECONDS, self._listen, listening))
            return False
        accepted.settimeout(0)
        peer = str(address[0])
        if len(self._connections) >= self._max_connections:
            accepted.close()
            self._full.warning(peer=peer, max_connections=self._max_connections)
            return True
        task = asyncio.create_task(self._serve(accepted, peer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return True

    async def _serve(self, accepted: socket.socket, peer: str) -> None:
        connection, task = self._make(), cast("asyncio.Task[None]", asyncio.current_task())
        self._handshaking.add(task)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_seconds,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
            )
        except OSError as error:
            # OpenSSL's reasons are constants; other texts may quote the sender.
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
