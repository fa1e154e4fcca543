"""A client's limits at the edge: time, connections, and no smuggled second request."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sandbox import Sandbox
from tests.integration.edge.edge_caller import EdgeCaller, Response, event, raw_request, stored
from tests.integration.edge.edge_gateways import edge_with
from tests.running import Running, edge_session, notification_path

_PATIENCE_SECONDS = 0.5
_BODY = json.dumps(event()).encode()


@pytest.fixture
async def impatient(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[EdgeCaller]:
    """D1's client of an edge with short time limits."""
    limits: dict[str, Any] = {
        "request_timeout_seconds": _PATIENCE_SECONDS,
        "idle_timeout_seconds": 3 * _PATIENCE_SECONDS,
    }
    async with edge_with(sandbox, tmp_path, **limits) as running, edge_session(sandbox) as session:
        yield EdgeCaller(running, session)


@pytest.fixture
async def crowded(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """An edge with at most three connections."""
    async with edge_with(sandbox, tmp_path, max_connections=3) as running:
        yield running


async def _tcp(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = running.addresses.edge.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _end_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the edge closes the connection."""
    async with asyncio.timeout(15):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send byte by byte until the connection closes."""
    for byte in data:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_who_never_begins_the_handshake_is_let_go(impatient: EdgeCaller) -> None:
    with capture_logs() as logged:
        reader, writer = await _tcp(impatient.running)
        began = time.monotonic()
        assert await _end_of(reader) == b""
        writer.transport.abort()
    assert time.monotonic() - began >= _PATIENCE_SECONDS - 0.1
    assert [entry["event"] for entry in logged] == ["tls_handshake_failed"]
    assert logged[0]["peer"] == "127.0.0.1"


async def test_a_client_without_a_certificate_is_logged_but_not_repeatedly(running: Running) -> None:
    with capture_logs() as logged:
        for _ in range(20):
            reader, writer = await _tcp(running)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await _end_of(reader)
            writer.transport.abort()
    assert [entry["event"] for entry in logged] == ["tls_handshake_failed"]


async def test_a_head_that_drips_in_is_not_waited_for(impatient: EdgeCaller) -> None:
    with capture_logs() as logged:
        async with impatient.connection() as (reader, writer):
            dripping = asyncio.create_task(_drip(writer, raw_request(b"")))
            assert await _end_of(reader) == b""
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)
    assert [entry["event"] for entry in logged] == ["request_head_timed_out"]
    assert (await impatient.notify()).status == 204


async def test_a_head_that_drips_in_behind_a_request_is_not_waited_for(impatient: EdgeCaller) -> None:
    async with impatient.connection() as (reader, writer):
        writer.write(raw_request(_BODY))
        assert (await impatient.read(reader)).status == 204
        dripping = asyncio.create_task(_drip(writer, raw_request(b"")))
        assert await _end_of(reader) == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_slow_body_gets_a_408_and_ends_the_connection(impatient: EdgeCaller) -> None:
    async with impatient.connection() as (reader, writer):
        writer.write(raw_request(b"", f"Content-Length: {len(_BODY)}"))
        dripping = asyncio.create_task(_drip(writer, _BODY))
        response = await impatient.read(reader)
        assert response.error(408) == "the body takes too long"
        assert response.headers["connection"] == "close"
        assert await _end_of(reader) == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
    assert await stored(impatient.running) == []


async def test_a_connection_without_a_request_ends(impatient: EdgeCaller) -> None:
    async with impatient.connection() as (reader, _):
        assert await _end_of(reader) == b""
    async with impatient.connection() as (reader, writer):
        writer.write(raw_request(_BODY))
        assert (await impatient.read(reader)).status == 204
        assert await _end_of(reader) == b""


async def test_a_connection_that_is_used_now_and_then_stays(impatient: EdgeCaller) -> None:
    async with impatient.connection() as (reader, writer):
        for number in range(4):
            # Longer than the limit of a head, shorter than that of an idle connection.
            await asyncio.sleep(1.5 * _PATIENCE_SECONDS if number else 0)
            writer.write(raw_request(json.dumps(event(operationId=f"op_{number}")).encode()))
            assert (await impatient.read(reader)).status == 204


async def test_one_connection_too_many_is_closed_at_once_and_a_place_that_is_left_is_taken(crowded: Running) -> None:
    async with edge_session(crowded.sandbox) as session:
        caller = EdgeCaller(crowded, session)
        async with AsyncExitStack() as stack:
            for _ in range(3):
                reader, writer = await stack.enter_async_context(caller.connection())
                writer.write(raw_request(_BODY))
                assert (await caller.read(reader)).status == 204
            with capture_logs() as logged:
                for _ in range(5):
                    refused, turned_away = await _tcp(crowded)
                    assert await _end_of(refused) == b""
                    turned_away.transport.abort()
            assert [entry["event"] for entry in logged] == ["edge_connection_limit_reached"]
            writer.write(raw_request(_BODY))
            assert (await caller.read(reader)).status == 204
        async with asyncio.timeout(10):
            while not await _is_served(caller):  # noqa: ASYNC110 (a freed connection sends no event)
                await asyncio.sleep(0.05)


async def _is_served(caller: EdgeCaller) -> bool:
    try:
        return (await caller.notify()).status == 204
    except OSError:
        return False


async def test_who_is_still_at_the_handshake_has_a_place_too(crowded: Running) -> None:
    async with AsyncExitStack() as stack:
        silent = [await _tcp(crowded) for _ in range(3)]
        for _, writer in silent:
            stack.callback(writer.transport.abort)
        await asyncio.sleep(0.2)
        reader, writer = await _tcp(crowded)
        stack.callback(writer.transport.abort)
        async with asyncio.timeout(5):
            assert await _end_of(reader) == b""


async def test_many_idle_connections_disturb_nobody(caller: EdgeCaller) -> None:
    async with AsyncExitStack() as stack:
        opened = await asyncio.gather(
            *(stack.enter_async_context(caller.connection()) for _ in range(150)),
        )
        assert (await caller.notify()).status == 204
        reader, writer = opened[-1]
        writer.write(raw_request(_BODY))
        assert (await caller.read(reader)).status == 204


async def test_a_gateway_stops_though_somebody_is_at_the_handshake_and_others_idle(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        async with edge_with(sandbox, tmp_path) as running, edge_session(sandbox) as session:
            caller = EdgeCaller(running, session)
            silent, writer = await _tcp(running)
            stack.callback(writer.transport.abort)
            idle, _ = await stack.enter_async_context(caller.connection())
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert await _end_of(silent) == b""
        assert await _end_of(idle) == b""


@pytest.mark.parametrize(
    "request_",
    [
        raw_request(_BODY, f"Content-Length: {len(_BODY)}", f"Content-Length: {len(_BODY)}"),
        raw_request(_BODY, f"Content-Length: {len(_BODY)}", "Content-Length: 0"),
        raw_request(_BODY, f"Content-Length: {len(_BODY)}, {len(_BODY)}"),
        raw_request(_BODY, f"Content-Length: +{len(_BODY)}"),
        raw_request(_BODY, f"Content-Length: {hex(len(_BODY))}"),
        raw_request(_BODY, f"Content-Length : {len(_BODY)}"),
        raw_request(b"0\r\n\r\n", "Transfer-Encoding: chunked", f"Content-Length: {len(_BODY)}"),
        raw_request(b"0\r\n\r\n", f"Content-Length: {len(_BODY)}", "Transfer-Encoding: chunked"),
        raw_request(b"0\r\n\r\n", "Transfer-Encoding : chunked"),
        raw_request(b"0\r\n\r\n", "Transfer-Encoding: xchunked"),
        raw_request(b"0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        raw_request(b"0\r\n\r\n", "Transfer-Encoding: chunked, identity"),
        raw_request(b"-1\r\n\r\n", "Transfer-Encoding: chunked"),
        raw_request(b"0x0\r\n\r\n", "Transfer-Encoding: chunked"),
        raw_request(_BODY, "X-Folded: a\r\n b"),
        raw_request(_BODY, "X-Null: a\0b"),
        raw_request(_BODY, "X-Bare: a\rb"),
        raw_request(_BODY, "X-Long: " + "x" * 9_000),
        raw_request(_BODY, *(f"X-{number}: x" for number in range(70))),
        raw_request(_BODY).replace(b"HTTP/1.1", b"HTTP/9.9", 1),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=range(21),
)
async def test_what_two_readers_could_read_differently_is_refused_and_nothing_behind_it_is_read(
    caller: EdgeCaller, request_: bytes
) -> None:
    behind = raw_request(json.dumps(event(operationId="op_smuggled")).encode())
    async with caller.connection() as (reader, writer):
        writer.write(request_ + behind)
        response = await caller.read(reader)
        response.error(400)
        _tells_nothing(response)
        assert await _end_of(reader) == b""
    assert await stored(caller.running) == []


def _tells_nothing(response: Response) -> None:
    told = (json.dumps(response.headers) + response.body.decode()).lower()
    assert "aiohttp" not in told
    assert "python" not in told


@pytest.mark.parametrize(
    ("path", "status"),
    [(notification_path("card-1"), 413), ("/elsewhere", 404), (notification_path("card-1", "NOBODY0001"), 404)],
)
async def test_a_refused_request_leaves_no_half_read_body_on_its_connection(
    caller: EdgeCaller, path: str, status: int
) -> None:
    async with caller.connection() as (reader, writer):
        smuggled = raw_request(_BODY)
        writer.write(raw_request(smuggled, "Content-Length: 1000000", path=path))
        (await caller.read(reader)).error(status)
        writer.write(smuggled)
        assert await _end_of(reader) == b""
    assert await stored(caller.running) == []


async def test_a_refused_request_whose_body_comes_late_leaves_its_connection_whole(impatient: EdgeCaller) -> None:
    async with impatient.connection() as (reader, writer):
        writer.write(raw_request(b"", f"Content-Length: {len(_BODY)}", path="/elsewhere"))
        (await impatient.read(reader)).error(404)
        writer.write(_BODY)
        # Longer than the limit of a head: the late body was not taken for one.
        await asyncio.sleep(1.5 * _PATIENCE_SECONDS)
        writer.write(raw_request(_BODY))
        assert (await impatient.read(reader)).status == 204


async def test_what_is_sent_far_ahead_is_answered_in_order(caller: EdgeCaller) -> None:
    count = 200
    async with caller.connection() as (reader, writer):
        for number in range(count):
            writer.write(raw_request(json.dumps(event(operationId=f"op_{number}")).encode()))
        assert [(await caller.read(reader)).status for _ in range(count)] == [204] * count
    held = [each.three_ds_operation.operation_id for each in await stored(caller.running)]
    assert held == [f"op_{number}" for number in range(count)]


async def test_a_taken_port_is_reported_with_its_listener(running: Running, sandbox: Sandbox, tmp_path: Path) -> None:
    port = int(running.addresses.edge.rpartition(":")[2])
    (tmp_path / "second").mkdir()
    with pytest.raises(OSError, match=f"^edge: cannot listen on 127.0.0.1:{port}: Address already in use$"):
        async with edge_with(sandbox, tmp_path / "second", port=port):
            pass
