"""A client's limits at the edge: time, and connections."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from sandbox import Sandbox
from tests.integration.edge.edge_caller import EdgeCaller, edge_log, end_of, event, on_tcp, raw_request
from tests.integration.edge.edge_gateways import edge_with
from tests.running import Running

_PATIENCE_SECONDS = 1.0
_BODY = json.dumps(event()).encode()


@pytest.fixture(scope="module")
async def impatient_edge(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An edge with a short time limit of handshakes, heads and bodies."""
    folder = tmp_path_factory.mktemp("impatient")
    async with edge_with(sandbox, folder, request_timeout_seconds=_PATIENCE_SECONDS) as running:
        yield running


@pytest.fixture
async def impatient(impatient_edge: Running, session: aiohttp.ClientSession) -> EdgeCaller:
    """D1's client of that edge."""
    return await EdgeCaller.of(impatient_edge, session)


@pytest.fixture
async def crowded(sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[EdgeCaller]:
    """D1's client of an edge with at most three connections."""
    async with edge_with(sandbox, tmp_path, max_connections=3) as running:
        yield await EdgeCaller.of(running, session)


@asynccontextmanager
async def _dripping(writer: asyncio.StreamWriter, data: bytes) -> AsyncIterator[None]:
    """Send byte by byte during the block."""

    async def drip() -> None:
        for byte in data:
            if writer.is_closing():
                return
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(drip())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_never_begins_the_handshake_is_let_go(impatient: EdgeCaller) -> None:
    with edge_log() as logged:
        began = time.monotonic()
        reader, writer = await on_tcp(impatient.running)
        assert await end_of(reader) == b""
        writer.transport.abort()
    assert time.monotonic() - began >= _PATIENCE_SECONDS - 0.1
    assert [entry["event"] for entry in logged] == ["tls_handshake_failed"]
    assert logged[0]["peer"] == "127.0.0.1"


async def test_a_client_without_a_certificate_is_logged_but_not_repeatedly(sandbox: Sandbox, tmp_path: Path) -> None:
    async with edge_with(sandbox, tmp_path) as running:
        with edge_log() as logged:
            for _ in range(5):
                reader, writer = await on_tcp(running)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                await end_of(reader)
                writer.transport.abort()
    assert [entry["event"] for entry in logged] == ["tls_handshake_failed"]


async def test_a_head_that_drips_in_is_not_waited_for(impatient: EdgeCaller) -> None:
    with edge_log() as logged:
        async with impatient.connection() as (reader, writer), _dripping(writer, raw_request(b"")):
            assert await end_of(reader) == b""
        async with impatient.connection() as (reader, writer):
            writer.write(impatient.raw_event())
            assert (await impatient.read(reader)).status == 204
            async with _dripping(writer, raw_request(b"")):
                assert await end_of(reader) == b""
    assert [entry["event"] for entry in logged if entry["log_level"] == "warning"] == ["request_head_timed_out"]
    assert (await impatient.notify()).status == 204


async def test_a_slow_body_gets_a_408_and_ends_the_connection(impatient: EdgeCaller) -> None:
    async with impatient.connection() as (reader, writer):
        writer.write(impatient.raw(b"", f"Content-Length: {len(_BODY)}"))
        async with _dripping(writer, _BODY):
            response = await impatient.read(reader)
            assert response.error(408) == "the body takes too long"
            assert response.headers["connection"] == "close"
            assert await end_of(reader) == b""
    assert await impatient.stored() == []


async def test_a_refused_request_whose_body_comes_late_leaves_its_connection_whole(impatient: EdgeCaller) -> None:
    async with impatient.connection() as (reader, writer):
        writer.write(raw_request(b"", f"Content-Length: {len(_BODY)}", path="/elsewhere"))
        (await impatient.read(reader)).error(404)
        writer.write(_BODY)
        # Longer than the limit of a head: the late body was not taken for one.
        await asyncio.sleep(1.5 * _PATIENCE_SECONDS)
        writer.write(impatient.raw_event())
        assert (await impatient.read(reader)).status == 204


async def test_a_connection_stays_while_it_is_used_and_ends_without_a_request(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    idle_seconds, pause_seconds = 2.5, 0.25
    async with edge_with(sandbox, tmp_path, idle_timeout_seconds=idle_seconds) as running:
        caller = await EdgeCaller.of(running, session)
        async with caller.connection() as (unused, _), caller.connection() as (reader, writer):
            for number in range(int(idle_seconds / pause_seconds) + 2):
                await asyncio.sleep(pause_seconds)
                writer.write(caller.raw_event(f"op_{number}"))
                assert (await caller.read(reader)).status == 204
            assert await end_of(unused) == b""
            assert await end_of(reader) == b""


async def test_one_connection_too_many_is_closed_at_once_and_a_place_that_is_left_is_taken(crowded: EdgeCaller) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            reader, writer = await stack.enter_async_context(crowded.connection())
            writer.write(crowded.raw_event())
            assert (await crowded.read(reader)).status == 204
        with edge_log() as logged:
            for _ in range(5):
                refused, turned_away = await on_tcp(crowded.running)
                assert await end_of(refused) == b""
                turned_away.transport.abort()
        assert [entry["event"] for entry in logged] == ["edge_connection_limit_reached"]
        writer.write(crowded.raw_event())
        assert (await crowded.read(reader)).status == 204
    async with asyncio.timeout(30):
        while not await _is_served(crowded):  # noqa: ASYNC110 (a freed connection sends no event)
            await asyncio.sleep(0.05)


async def _is_served(caller: EdgeCaller) -> bool:
    try:
        return (await caller.notify()).status == 204
    except OSError:
        return False


async def test_who_is_still_at_the_handshake_has_a_place_too(crowded: EdgeCaller) -> None:
    async with AsyncExitStack() as stack:
        # The kernel hands connections over in their order, so that the fourth comes last.
        opened = [await on_tcp(crowded.running) for _ in range(4)]
        for _, writer in opened:
            stack.callback(writer.transport.abort)
        assert await end_of(opened[-1][0]) == b""


async def test_many_idle_connections_disturb_nobody(caller: EdgeCaller) -> None:
    async with AsyncExitStack() as stack:
        opened = await asyncio.gather(*(stack.enter_async_context(caller.connection()) for _ in range(150)))
        assert (await caller.notify()).status == 204
        reader, writer = opened[-1]
        writer.write(caller.raw_event())
        assert (await caller.read(reader)).status == 204


async def test_a_gateway_stops_though_somebody_is_at_the_handshake_and_others_idle(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        async with edge_with(sandbox, tmp_path) as running:
            caller = await EdgeCaller.of(running, session)
            silent, writer = await on_tcp(running)
            stack.callback(writer.transport.abort)
            idle, _ = await stack.enter_async_context(caller.connection())
        assert await end_of(silent) == b""
        assert await end_of(idle) == b""


async def test_a_taken_port_is_reported_with_its_listener(running: Running, sandbox: Sandbox, tmp_path: Path) -> None:
    port = int(running.addresses.edge.rpartition(":")[2])
    with pytest.raises(OSError, match=f"^edge: cannot listen on 127.0.0.1:{port}: Address already in use$"):
        async with edge_with(sandbox, tmp_path, port=port):
            pass
