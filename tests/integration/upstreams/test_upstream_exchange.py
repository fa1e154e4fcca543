"""What became of a request, when the other side of the socket misbehaves."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from adapters.d1.api.errors import D1
from adapters.http.client import HttpExchange
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.settings import UpstreamSettings
from tests.integration.upstreams.fake_upstream import (
    BREAK,
    HANG,
    TRUNCATED,
    FakeUpstream,
    Reply,
    Seen,
    failure_of,
    kind_of,
    reply,
    running,
)
from tests.integration.upstreams.raw_server import raw_server

OK = reply(status=204)
KEPT = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with running(FakeUpstream([HANG])) as started:
        yield started


@asynccontextmanager
async def http_at(
    url: str, tls: ssl.SSLContext | None = None, *, max_response_bytes: int = 1_048_576, **limits: Any
) -> AsyncIterator[HttpExchange]:
    settings = UpstreamSettings(base_url=url, **limits)
    async with aclosing(HttpExchange(D1, settings, tls, max_response_bytes=max_response_bytes)) as http:
        yield http


async def send(
    http: HttpExchange, method: str = "POST", path: str = "/path", *, seconds: float = 60.0
) -> UpstreamResponse:
    deadline = asyncio.get_running_loop().time() + seconds
    headers = {"Authorization": "Bearer top-secret"}
    return await http.send(method, path, endpoint=path, headers=headers, body=b"secret", deadline=deadline)


async def failure(http: HttpExchange, method: str = "POST", *, seconds: float = 60.0) -> GatewayError:
    error = await failure_of(send(http, method, seconds=seconds))
    assert error.metadata["upstream"] == "d1"
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "UPSTREAM_NO_RESPONSE"),
        (b"HTTP/1.1 201 Crea", "UPSTREAM_NO_RESPONSE"),
        (TRUNCATED.content, "UPSTREAM_NO_RESPONSE"),
        (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "UPSTREAM_NO_RESPONSE"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "UPSTREAM_CONTRACT"),
        (b"HTTP/1.1 201 Created\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "UPSTREAM_CONTRACT"),
    ],
    ids=["closes", "breaks-in-the-head", "breaks-in-the-body", "breaks-in-a-chunk", "speaks-no-http", "endless-header"],
)
async def test_a_request_that_left_without_a_whole_response_has_an_unknown_outcome(
    upstream: FakeUpstream, content: bytes, reason: str
) -> None:
    upstream.replies = [Reply(content)]
    async with http_at(upstream.url) as http:
        error = await failure(http)

    assert kind_of(error) == (reason, "UNKNOWN")
    assert error.retry_after_seconds is None
    assert "upstream_status" not in error.metadata
    assert len(upstream.seen) == 1


async def test_a_connection_that_is_closed_before_anything_is_read_leaves_the_outcome_unknown(
    upstream: FakeUpstream,
) -> None:
    upstream.greeting = BREAK
    async with http_at(upstream.url) as http:
        assert kind_of(await failure(http)) == ("UPSTREAM_NO_RESPONSE", "UNKNOWN")


@pytest.mark.parametrize(
    ("served", "part", "outcome"),
    [(0, b"", "NOT_SENT"), (1, b"", "UNKNOWN"), (0, b"HTTP/1.1 201 Created\r\nX", "UNKNOWN")],
    ids=["in place of the first response", "in place of a later one", "within a response"],
)
async def test_a_tls_alert_says_that_nothing_was_sent_only_if_it_is_the_first_word(
    served: int, part: bytes, outcome: str
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(served):
            await reader.readuntil(b"\r\n\r\nsecret")
            writer.write(KEPT)
        await reader.readuntil(b"\r\n\r\nsecret")
        writer.write(part)
        await reader.read()

    alert = ssl.SSLError(1, "alert")
    alert.reason = "TLSV1_ALERT_ACCESS_DENIED"
    async with raw_server(script) as server, http_at(server.url) as http:
        for _ in range(served):
            await send(http)
        failing = asyncio.create_task(failure(http))
        await asyncio.sleep(0.1)
        (connection,) = http._pool._connections
        # No server that we know sends one so late, but TLS allows it.
        connection.connection_lost(alert)

        error = await failing

    assert kind_of(error)[1] == outcome


async def test_a_request_whose_deadline_has_passed_is_not_written() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await reader.readuntil(b"\r\n\r\nsecret"))
            writer.write(KEPT)

    async with raw_server(script) as server, http_at(server.url) as http:
        await send(http)
        error = await failure(http, seconds=-0.01)
        await send(http)

        assert kind_of(error) == ("DEADLINE_EXCEEDED", "NOT_SENT")
        assert (len(seen), len(server.tls)) == (2, 1)


async def test_a_deadline_that_passes_within_the_response_leaves_the_outcome_unknown(upstream: FakeUpstream) -> None:
    upstream.replies = [Reply(TRUNCATED.content, "hangs")]
    async with http_at(upstream.url) as http:
        error = await failure(http, seconds=0.3)

    assert kind_of(error) == ("DEADLINE_EXCEEDED", "UNKNOWN")
    assert error.retry_after_seconds is None
    assert "upstream_status" not in error.metadata


async def test_a_head_that_does_not_come_in_time_ends_the_request_before_its_deadline(upstream: FakeUpstream) -> None:
    async with http_at(upstream.url, head_timeout_seconds=0.2) as http:
        error = await failure(http)

    assert kind_of(error) == ("UPSTREAM_NO_RESPONSE", "UNKNOWN")
    assert error.message == "D1 did not respond in time. The request may have taken effect."


async def test_a_body_may_take_longer_than_the_head() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.4)
        writer.write(b"{}")

    async with raw_server(script) as server, http_at(server.url, head_timeout_seconds=0.2) as http:
        assert (await send(http)).body == b"{}"


@pytest.mark.parametrize(
    ("connect_seconds", "seconds", "kind", "text"),
    [
        (0.1, 60.0, "UPSTREAM_UNREACHABLE", "no connection was available in time"),
        (2.0, 0.1, "DEADLINE_EXCEEDED", "Nothing was sent."),
    ],
    ids=["connect-timeout", "deadline"],
)
async def test_a_tls_handshake_that_hangs_means_nothing_was_sent(
    upstream: FakeUpstream, connect_seconds: float, seconds: float, kind: str, text: str
) -> None:
    url = upstream.url.replace("http", "https")
    async with http_at(url, ssl.create_default_context(), connect_timeout_seconds=connect_seconds) as http:
        error = await failure(http, seconds=seconds)

    assert kind_of(error) == (kind, "NOT_SENT")
    assert text in error.message


async def test_an_upstream_without_tls_means_nothing_was_sent(upstream: FakeUpstream) -> None:
    upstream.greeting = Reply(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    async with http_at(upstream.url.replace("http", "https"), ssl.create_default_context()) as http:
        error = await failure(http)

    assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")


async def test_a_request_waits_for_a_place_longer_than_for_a_connection(upstream: FakeUpstream) -> None:
    released = asyncio.Event()

    async def reply_when_released(_request: Seen) -> Reply:
        await released.wait()
        return OK

    upstream.replies = [reply_when_released]
    async with http_at(upstream.url, max_connections=1, connect_timeout_seconds=0.5) as http:
        first = asyncio.create_task(send(http))
        await upstream.arrived(1)
        second = asyncio.create_task(send(http))
        await asyncio.sleep(0.6)
        released.set()

        assert ((await first).status, (await second).status) == (204, 204)


async def test_a_request_that_finds_the_queue_full_is_refused_at_once(upstream: FakeUpstream) -> None:
    upstream.replies = [HANG, OK]
    async with http_at(upstream.url, max_connections=1, max_waiting_requests=1) as http:
        first = asyncio.create_task(send(http))
        await upstream.arrived(1)
        second = asyncio.create_task(send(http))
        await asyncio.sleep(0)
        third = await failure(http)

        assert kind_of(third) == ("TOO_MANY_REQUESTS", "NOT_SENT")
        assert third.retry_after_seconds == 1
        assert not second.done()
        first.cancel()
        assert (await second).status == 204
    assert len(upstream.seen) == 2


async def test_a_cancelled_request_gives_its_connection_up(upstream: FakeUpstream) -> None:
    upstream.replies = [HANG, OK]
    async with http_at(upstream.url, max_connections=1) as http:
        task = asyncio.create_task(send(http))
        await upstream.arrived(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with asyncio.timeout(30):
            await upstream.hung_up.wait()
        assert (await send(http)).status == 204


async def test_calls_one_after_the_other_share_a_connection_and_keep_no_cookie(upstream: FakeUpstream) -> None:
    upstream.replies = [reply(Set_Cookie="session=1; Path=/")]
    async with http_at(upstream.url) as http:
        for _ in range(5):
            await send(http)

    assert len({seen.peer for seen in upstream.seen}) == 1
    assert not [seen for seen in upstream.seen if "cookie" in seen.headers]


@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
async def test_a_request_on_a_connection_that_dies_is_sent_once(upstream: FakeUpstream, method: str) -> None:
    upstream.replies = [OK, BREAK]
    async with http_at(upstream.url) as http:
        await send(http)

        assert kind_of(await failure(http, method)) == ("UPSTREAM_NO_RESPONSE", "UNKNOWN")
    assert len(upstream.seen) == 2


async def test_a_path_goes_out_exactly_as_it_was_given(upstream: FakeUpstream) -> None:
    upstream.replies = [OK]
    async with http_at(upstream.url) as http:
        await send(http, path="/a%2F%7eb/operations:renew")

    assert (upstream.seen[0].method, upstream.seen[0].path) == ("POST", "/a%2F%7eb/operations:renew")


async def test_a_response_of_the_largest_size_is_read(upstream: FakeUpstream) -> None:
    upstream.replies = [reply(b"x" * 1000)]
    async with http_at(upstream.url, max_response_bytes=1000) as http:
        assert len((await send(http)).body) == 1000


@pytest.mark.parametrize(
    "large",
    [reply(b"x" * 100_001, 201), reply(b"x" * 1_000_000, 400, Content_Length="100000000")],
    ids=["success", "error-without-end"],
)
async def test_a_larger_response_breaks_the_contract(upstream: FakeUpstream, large: Reply) -> None:
    upstream.replies = [large]
    async with http_at(upstream.url, max_response_bytes=100_000) as http:
        error = await failure(http)

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")


async def test_a_packed_response_that_nobody_asked_for_is_foreign_and_stays_packed(upstream: FakeUpstream) -> None:
    packed = gzip.compress(b" " * 10_000_000 + b"{}")
    upstream.replies = [reply(packed, Content_Encoding="gzip")]
    async with http_at(upstream.url) as http:
        response = await send(http)

    assert upstream.seen[0].headers["accept-encoding"] == "identity"
    assert response.is_foreign
    assert response.body == packed
