"""Accepts TLS connections, limited in number and in the time of their handshake."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.aio.sockets import resolved
from gateway.edge.connection_places import ConnectionPlaces, FairPlaces, FairTurns, address_block
from gateway.edge.connection_refusals import Refusal, Refusals
from gateway.edge.server_connection import Connection
from gateway.edge.tls_handshake import Handshake, reset

__all__ = ["Listener", "ListenerLimits"]

# As many as Linux lets wait by default (net.core.somaxconn): a client that does not fit in tries again after a second.
_BACKLOG: Final = 4096
# So that accepting many leaves time for the requests of others.
_ACCEPTED_AT_ONCE: Final = 64
_ACCEPT_PAUSE_SECONDS: Final = 1.0
_HELLO_SECONDS: Final = 2.0
_TLS_SHUTDOWN_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.02

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Limits of a listener; see `gateway.settings.EdgeSettings`."""

    max_connections: int
    max_connections_per_address: int
    max_handshakes: int
    handshake_timeout_seconds: float


class Listener:
    """A TCP port with TLS.

    A stranger's connection competes with those of other strangers for a place, first until its ClientHello is there,
    then until its client is known. Then it has a place among the connections, which no stranger can take.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        tls: ssl.SSLContext,
        *,
        limits: ListenerLimits,
        refusals: Refusals,
        is_proxy: Callable[[str], bool],
        is_client: Callable[[Connection], bool],
    ) -> None:
        """Initialise.

        Args:
            make: Creates the protocol of a connection.
            tls: TLS context, consulted anew for each connection.
            limits: Numbers and times.
            refusals: Told of each connection that is turned away.
            is_proxy: Whether an address is the proxy's. Its connections are no stranger's from the beginning.
            is_client: Whether a connection, its handshake completed, shows a client that is known.
        """
        self._make = make
        self._tls = tls
        self._limits = limits
        self._refusals = refusals
        self._is_proxy = is_proxy
        self._is_client = is_client
        self._sockets: list[socket.socket] = []
        self._pauses: list[asyncio.TimerHandle] = []
        self._known = ConnectionPlaces(limits.max_connections, limits.max_connections_per_address)
        # Apart, so that those who say nothing do not displace those who do, nor the other way round.
        self._silent: FairPlaces[Handshake] = FairPlaces(limits.max_handshakes, self._known.is_familiar)
        self._shaking: FairTurns[Handshake] = FairTurns(limits.max_handshakes, self._known.is_familiar)
        self._is_taking_turns = False
        self._handshakes: set[Handshake] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connection_count(self) -> int:
        """The number of connections with a known client, or from the proxy."""
        return self._known.taken_count

    @property
    def handshake_count(self) -> int:
        """The number of connections whose handshake is not completed, or whose client is not known."""
        return len(self._handshakes)

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

    async def close(self, grace_seconds: float = 0.0) -> None:
        """Accept no further connections, and after a while abort pending handshakes; established connections stay.

        Args:
            grace_seconds: How long to wait for all connections to end by themselves.
        """
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            # The kernel would reset the connections that wait in the backlog.
            for _ in range(_BACKLOG):
                if not self._accept(listening):
                    break
            listening.close()
        for pause in self._pauses:
            pause.cancel()
        # Connections accepted just now need time for their handshake.
        until = loop.time() + grace_seconds
        while (self._handshakes or self._tasks) and loop.time() < until:  # noqa: ASYNC110 (both change meanwhile)
            await asyncio.sleep(min(_POLL_SECONDS, grace_seconds))
        pending = [*self._handshakes]
        for handshake in pending:
            self._forget(handshake)
            handshake.abort()
        await _ended(handshake.task for handshake in pending)

    async def cancel_connections(self) -> None:
        """Stop waiting for connections; their owner has closed them."""
        for task in self._tasks:
            task.cancel()
        await _ended(self._tasks)

    def _listen(self, listening: socket.socket) -> None:
        # Not `sock_accept`: cancelled at the wrong moment, it loses the connection that it has just accepted.
        asyncio.get_running_loop().add_reader(listening, self._accept_some, listening)

    def _accept_some(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if not self._accept(listening):
                break

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
        self._admit(accepted, str(address[0]))
        return True

    def _admit(self, accepted: socket.socket, peer: str) -> None:
        block = None if self._is_proxy(peer) else address_block(peer)
        if (refusal := self._known.refusal(block)) is not None:
            reset(accepted)
            self._refusals.report(refusal, peer)
            return
        limit_seconds = self._limits.handshake_timeout_seconds
        handshake = Handshake(accepted, peer, block, asyncio.get_running_loop().time() + limit_seconds)
        self._handshakes.add(handshake)
        if block is None:
            self._take_place(handshake)
            self._begin(handshake)
        else:
            self._displace(self._silent.add(handshake, block))
            handshake.await_hello(self._hello_received, self._hello_missed, min(_HELLO_SECONDS, limit_seconds))

    def _hello_missed(self, handshake: Handshake) -> None:
        self._forget(handshake)
        handshake.abort()
        self._refusals.report(Refusal.SILENT, handshake.peer)

    def _hello_received(self, handshake: Handshake) -> None:
        self._silent.remove(handshake)
        self._displace(self._shaking.add(handshake, handshake.block or ""))
        if not self._is_taking_turns:
            self._is_taking_turns = True
            self._take_turn()

    def _take_turn(self) -> None:
        """Begin a handshake, and the next one after the event loop has done what else there is.

        A handshake takes a hundred times as long as it takes to accept its connection.
        """
        handshake = self._shaking.next()
        if handshake is None:
            self._is_taking_turns = False
            return
        asyncio.get_running_loop().call_soon(self._take_turn)
        self._begin(handshake)

    def _displace(self, handshake: Handshake | None) -> None:
        if handshake is not None:
            self._forget(handshake)
            handshake.abort()
            self._refusals.report(Refusal.DISPLACED, handshake.peer)

    def _forget(self, handshake: Handshake) -> None:
        self._handshakes.discard(handshake)
        self._silent.remove(handshake)
        self._shaking.remove(handshake)

    def _begin(self, handshake: Handshake) -> None:
        handshake.task = task = asyncio.create_task(self._serve(handshake))
        self._tasks.add(task)

        # Also called if the task is cancelled before it begins.
        def ended(_: object) -> None:
            self._tasks.discard(task)
            self._forget(handshake)
            if handshake.has_place:
                self._known.free(handshake.block)

        task.add_done_callback(ended)

    async def _serve(self, handshake: Handshake) -> None:
        connection = handshake.connection = self._make()
        try:
            async with asyncio.timeout_at(handshake.deadline) as limit:
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection, handshake.socket, ssl=self._tls, ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS
                )
                # A client that is not known learns why from the answers to its requests, while its handshake's time
                # and place last.
                if handshake.has_place or self._is_client(connection):
                    self._forget(handshake)
                    limit.reschedule(None)
                    if not handshake.has_place and not self._finds_place(handshake):
                        connection.abort()
                await connection.wait_lost()
        except OSError as error:
            self._report(handshake, error, is_complete=connection.transport is not None)
            connection.abort()

    def _finds_place(self, handshake: Handshake) -> bool:
        if (refusal := self._known.refusal(handshake.block)) is not None:
            self._refusals.report(refusal, handshake.peer)
            return False
        self._take_place(handshake)
        return True

    def _take_place(self, handshake: Handshake) -> None:
        self._known.take(handshake.block)
        handshake.has_place = True

    def _report(self, handshake: Handshake, error: OSError, *, is_complete: bool) -> None:
        reason, text = Refusal.FAILED, None
        if isinstance(error, TimeoutError):
            reason = Refusal.UNVERIFIED if is_complete else Refusal.SLOW
        else:
            # OpenSSL's reasons are constants; other texts may quote the sender.
            text = error.reason if isinstance(error, ssl.SSLError) else type(error).__name__
        self._refusals.report(reason, handshake.peer, text)


async def _ended(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
