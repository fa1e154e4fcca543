"""Connections that arrive just when a listener closes, and ports that several processes share."""

import asyncio
import socket
import ssl
from typing import cast

import pytest

from gateway.edge.connection_refusals import Refusals
from gateway.edge.server_connection import Connection
from gateway.edge.tls_listener import Listener, ListenerLimits


class _Connection(asyncio.Protocol):
    transport = None

    def abort(self) -> None:
        pass


class _Listening:
    """A listener, and its number of connections."""

    def __init__(self) -> None:
        self.taken = 0
        self.listener = Listener(
            self._take,
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            limits=ListenerLimits(
                max_connections=40, max_connections_per_address=40, max_handshakes=40, handshake_timeout_seconds=5
            ),
            refusals=Refusals(lambda _: None),
            is_proxy=lambda _: False,
            is_client=lambda _: True,
        )

    def _take(self) -> Connection:
        self.taken += 1
        return cast("Connection", _Connection())


def _speaking(port: int) -> socket.socket:
    """Connect, and say what is no TLS: a connection that says nothing is none yet."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"?")
    return connection


async def test_connections_that_still_wait_to_be_taken_are_taken_by_a_listener_that_closes() -> None:
    listening = _Listening()
    port = await listening.listener.open("127.0.0.1", 0)
    # The loop does not run before it closes: only the kernel knows of them.
    waiting = [_speaking(port) for _ in range(3)]
    await listening.listener.close(0.05)

    assert listening.taken == 3
    for each in waiting:
        each.close()


async def test_listeners_that_reuse_a_port_share_its_connections() -> None:
    one, other = _Listening(), _Listening()
    port = await one.listener.open("127.0.0.1", 0, reuse_port=True)
    assert await other.listener.open("127.0.0.1", port, reuse_port=True) == port
    waiting = [_speaking(port) for _ in range(40)]
    for each in (one, other):
        await each.listener.close(0.05)

    # The probability that all of them reach the same one is 1 in 2^39.
    assert one.taken
    assert other.taken
    for connection in waiting:
        connection.close()


@pytest.mark.parametrize(("first_reuses", "second_reuses"), [(False, True), (True, False), (False, False)])
async def test_a_port_is_shared_by_those_alone_that_both_say_so(*, first_reuses: bool, second_reuses: bool) -> None:
    one, other = _Listening(), _Listening()
    port = await one.listener.open("127.0.0.1", 0, reuse_port=first_reuses)
    with pytest.raises(OSError, match="in use"):
        await other.listener.open("127.0.0.1", port, reuse_port=second_reuses)
    await one.listener.close()
