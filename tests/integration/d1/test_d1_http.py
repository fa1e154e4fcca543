"""What became of a request, when the other side of the socket misbehaves."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.d1.api.errors import D1
from adapters.http.client import HttpExchange
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError, Outcome, Reason
from gateway.settings import UpstreamSettings
from issuer.common.v1 import error_pb2

NOT_SENT = error_pb2.OUTCOME_NOT_SENT
UNKNOWN = error_pb2.OUTCOME_UNKNOWN
DEADLINE_EXCEEDED = error_pb2.ERROR_REASON_DEADLINE_EXCEEDED
NO_ANSWER = error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER
UNREACHABLE = error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
CONTRACT = error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
TOO_MANY = error_pb2.ERROR_REASON_TOO_MANY_REQUESTS


@dataclass(slots=True)
class Wire:
    """One accepted connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Read one request with a body of six bytes; empty when the peer has gone."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n") + await self.reader.readexactly(6)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def answer(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()


Script = Callable[["Peer", Wire], Awaitable[None]]


@dataclass(slots=True)
class Peer:
    """A server that follows a script on each connection, which is closed when the script ends."""

    script: Script
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: set["asyncio.Task[None]"] = field(default_factory=set)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `read_and_hang` has read a request."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self.script(self, Wire(reader, writer))
        except asyncio.CancelledError:
            # Swallowed here and only here: asyncio's server reports a cancelled connection as an error.
            pass
        finally:
            writer.close()


@asynccontextmanager
async def peer(script: Script) -> AsyncIterator[Peer]:
    running = Peer(script)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.close()
        for connection in running.connections:
            connection.cancel()
        await asyncio.gather(*running.connections, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def http_at(
    url: str, tls: ssl.SSLContext | None = None, *, max_response_bytes: int = 1_048_576, **limits: Any
) -> AsyncIterator[HttpExchange]:
    settings = UpstreamSettings(base_url=url, **limits)
    async with aclosing(HttpExchange(D1, settings, tls, max_response_bytes=max_response_bytes)) as http:
        yield http


async def send(
    http: HttpExchange, method: str = "POST", path: str = "/path", *, seconds: float = 5.0
) -> UpstreamResponse:
    deadline = asyncio.get_running_loop().time() + seconds
    headers = {"Authorization": "Bearer top-secret"}
    return await http.send(method, path, endpoint=path, headers=headers, body=b"secret", deadline=deadline)


async def failure(http: HttpExchange, method: str = "POST", *, seconds: float = 5.0) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await send(http, method, seconds=seconds)
    assert caught.value.metadata["upstream"] == "d1"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


async def close_at_once(_peer: Peer, _wire: Wire) -> None:
    pass


async def read_and_close(server: Peer, wire: Wire) -> None:
    server.requests.append(await wire.request())


async def read_and_hang(server: Peer, wire: Wire) -> None:
    server.requests.append(await wire.request())
    server.arrival.set()
    await asyncio.sleep(30)


def read_and_say(content: bytes) -> Script:
    async def script(server: Peer, wire: Wire) -> None:
        server.requests.append(await wire.request())
        await wire.answer(content)

    return script


async def hang_in_the_body(server: Peer, wire: Wire) -> None:
    server.requests.append(await wire.request())
    await wire.answer(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
    await asyncio.sleep(30)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("script", "reason", "outcome"),
    [
        (close_at_once, NO_ANSWER, UNKNOWN),
        (read_and_close, NO_ANSWER, UNKNOWN),
        (read_and_say(b"HTTP/1.1 201 Crea"), NO_ANSWER, UNKNOWN),
        (read_and_say(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"), NO_ANSWER, UNKNOWN),
        (read_and_say(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), NO_ANSWER, UNKNOWN),
        (read_and_say(b"SSH-2.0-OpenSSH_9.9\r\n"), CONTRACT, UNKNOWN),
        (read_and_say(b"HTTP/1.1 201 Created\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"), CONTRACT, UNKNOWN),
        (read_and_hang, DEADLINE_EXCEEDED, UNKNOWN),
        (hang_in_the_body, DEADLINE_EXCEEDED, UNKNOWN),
    ],
    ids=[
        "closes-before-reading",
        "reads-and-closes",
        "breaks-in-the-head",
        "breaks-in-the-body",
        "breaks-in-a-chunk",
        "speaks-no-http",
        "endless-header",
        "hangs",
        "hangs-in-the-body",
    ],
)
async def test_a_request_that_left_without_a_whole_answer_has_an_unknown_outcome(
    script: Script, reason: Reason, outcome: Outcome
) -> None:
    async with peer(script) as server, http_at(server.url) as http:
        error = await failure(http, seconds=0.3)

    assert (error.reason, error.outcome) == (reason, outcome)
    assert error.retry_after_seconds is None
    assert "upstream_status" not in error.metadata


async def test_a_refused_connection_means_nothing_was_sent() -> None:
    async with http_at(f"http://127.0.0.1:{free_port()}") as http:
        error = await failure(http)

    assert (error.reason, error.outcome) == (UNREACHABLE, NOT_SENT)
    assert error.retry_after_seconds == 1


async def test_a_tls_handshake_that_hangs_ends_with_the_connect_timeout_and_nothing_was_sent() -> None:
    async with (
        peer(read_and_hang) as server,
        http_at(server.url.replace("http", "https"), ssl.create_default_context(), connect_timeout_seconds=0.1) as http,
    ):
        error = await failure(http)

    assert (error.reason, error.outcome) == (UNREACHABLE, NOT_SENT)
    assert "no connection was available in time" in error.message


async def test_a_deadline_that_passes_during_the_handshake_means_nothing_was_sent() -> None:
    async with (
        peer(read_and_hang) as server,
        http_at(server.url.replace("http", "https"), ssl.create_default_context()) as http,
    ):
        error = await failure(http, seconds=0.1)

    assert (error.reason, error.outcome) == (DEADLINE_EXCEEDED, NOT_SENT)


async def test_a_peer_without_tls_means_nothing_was_sent() -> None:
    async with (
        peer(read_and_say(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        http_at(server.url.replace("http", "https"), ssl.create_default_context()) as http,
    ):
        error = await failure(http, seconds=0.3)

    assert error.outcome == NOT_SENT


async def test_a_request_that_waits_for_a_free_connection_was_not_sent() -> None:
    async with peer(read_and_hang) as server, http_at(server.url, max_connections=1) as http:
        first = asyncio.create_task(failure(http, seconds=0.5))
        await server.arrival.wait()
        second = await failure(http, seconds=0.1)

        assert (second.reason, second.outcome) == (DEADLINE_EXCEEDED, NOT_SENT)
        assert (await first).outcome == UNKNOWN
        assert len(server.requests) == 1


async def test_a_request_waits_for_a_place_longer_than_for_a_connection() -> None:
    async with (
        peer(read_and_hang) as server,
        http_at(server.url, max_connections=1, connect_timeout_seconds=0.1) as http,
    ):
        first = asyncio.create_task(failure(http, seconds=0.5))
        await server.arrival.wait()
        second = await failure(http, seconds=1.0)

        assert (second.reason, second.outcome) == (DEADLINE_EXCEEDED, UNKNOWN)
        assert (await first).outcome == UNKNOWN
        assert len(server.requests) == 2


async def test_a_request_that_finds_the_line_full_is_refused_at_once() -> None:
    async with peer(read_and_hang) as server, http_at(server.url, max_connections=1, max_waiting_requests=1) as http:
        first = asyncio.create_task(failure(http, seconds=0.5))
        await server.arrival.wait()
        second = asyncio.create_task(failure(http, seconds=0.3))
        await asyncio.sleep(0)
        third = await failure(http)

        assert not second.done()
        assert (third.reason, third.outcome) == (TOO_MANY, NOT_SENT)
        assert third.retry_after_seconds == 1
        assert (await second).outcome == NOT_SENT
        await first
        assert len(server.requests) == 1


async def test_a_caller_that_leaves_the_line_gives_its_place_there_up() -> None:
    async with peer(read_and_hang) as server, http_at(server.url, max_connections=1, max_waiting_requests=1) as http:
        first = asyncio.create_task(failure(http, seconds=0.5))
        await server.arrival.wait()
        second = asyncio.create_task(send(http))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second

        assert (await failure(http, seconds=0.1)).reason == DEADLINE_EXCEEDED
        await first


async def answer_once_then_read_and_close(server: Peer, wire: Wire) -> None:
    server.requests.append(await wire.request())
    await wire.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    request = await wire.request()
    if request:
        server.requests.append(request)


async def test_a_post_on_a_connection_that_dies_is_not_sent_again() -> None:
    async with peer(answer_once_then_read_and_close) as server, http_at(server.url) as http:
        await send(http)
        error = await failure(http)

        assert (error.reason, error.outcome) == (NO_ANSWER, UNKNOWN)
        assert len(server.requests) == 2


async def test_a_put_on_a_connection_that_dies_is_sent_again_on_a_new_one() -> None:
    async with peer(answer_once_then_read_and_close) as server, http_at(server.url) as http:
        await send(http, "PUT")
        answer = await send(http, "PUT")

        assert answer.status == 204
        assert len(server.requests) == 3
        assert len(server.connections) == 2


async def test_a_put_that_was_sent_once_stays_unknown_when_its_repetition_cannot_connect() -> None:
    async def answer_once_then_vanish(server: Peer, wire: Wire) -> None:
        server.requests.append(await wire.request())
        await wire.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
        server.requests.append(await wire.request())
        listening.close()

    connection = Peer(answer_once_then_vanish)
    listening = await asyncio.start_server(connection.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with http_at(f"http://127.0.0.1:{port}") as http:
        await send(http, "PUT")
        error = await failure(http, "PUT")

    assert (error.reason, error.outcome) == (NO_ANSWER, UNKNOWN)
    assert len(connection.requests) == 2
    await asyncio.gather(*connection.connections)
    await listening.wait_closed()


async def test_a_path_goes_out_exactly_as_it_was_given() -> None:
    async with peer(read_and_say(b"HTTP/1.1 204 No Content\r\n\r\n")) as server, http_at(server.url) as http:
        await send(http, path="/a%2F%7eb/operations:renew")

    assert server.requests[0].startswith(b"POST /a%2F%7eb/operations:renew HTTP/1.1\r\n")


async def test_an_answer_of_the_largest_size_is_read() -> None:
    content = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    async with peer(read_and_say(content)) as server, http_at(server.url, max_response_bytes=1000) as http:
        assert len((await send(http)).body) == 1000


@pytest.mark.parametrize("status", [b"201 Created", b"400 Bad Request"])
async def test_a_larger_answer_breaks_the_contract(status: bytes) -> None:
    async def flood(server: Peer, wire: Wire) -> None:
        server.requests.append(await wire.request())
        await wire.answer(b"HTTP/1.1 " + status + b"\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            await wire.answer(b"x" * 1000)

    async with peer(flood) as server, http_at(server.url, max_response_bytes=1000) as http:
        error = await failure(http)

    assert (error.reason, error.outcome) == (CONTRACT, UNKNOWN)


async def test_a_small_answer_that_unpacks_to_a_large_one_breaks_the_contract() -> None:
    packed = gzip.compress(b"x" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    async with (
        peer(read_and_say(head.encode() + packed)) as server,
        http_at(server.url, max_response_bytes=100_000) as http,
    ):
        error = await failure(http)

    assert len(packed) < 100_000
    assert (error.reason, error.outcome) == (CONTRACT, UNKNOWN)


async def test_a_cancelled_request_is_cancelled_and_gives_its_connection_up() -> None:
    async with peer(read_and_hang) as server, http_at(server.url, max_connections=1) as http:
        task = asyncio.create_task(send(http))
        await server.arrival.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        error = await failure(http, seconds=0.2)
        assert error.outcome == UNKNOWN
        assert len(server.requests) == 2
