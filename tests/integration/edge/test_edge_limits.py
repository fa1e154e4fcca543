"""A client's limits at the edge: time, and connections."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.settings import EdgeProxySettings
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
    limits: dict[str, Any] = {
        "request_timeout_seconds": _PATIENCE_SECONDS,
        "handshake_timeout_seconds": _PATIENCE_SECONDS,
    }
    async with edge_with(sandbox, folder, **limits) as running:
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


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


_HELLO = _client_hello()


async def _refused(caller: EdgeCaller) -> dict[str, float]:
    """Return the edge's count of connections that were turned away, by reason."""
    refused = await caller.samples("edge_connections_refused_total")
    return {labels["reason"]: value for labels, value in refused if value}


@pytest.mark.parametrize(
    ("beginning", "reason"),
    [(b"", "silent"), (_HELLO[:3], "silent"), (_HELLO[:-1], "silent"), (_HELLO, "slow")],
    ids=["nothing", "a part of a header", "all but a byte", "a whole ClientHello"],
)
async def test_who_does_not_go_on_with_the_handshake_is_let_go(
    impatient: EdgeCaller, beginning: bytes, reason: str
) -> None:
    before = (await _refused(impatient)).get(reason, 0)
    with edge_log() as logged:
        began = time.monotonic()
        reader, writer = await on_tcp(impatient.running)
        writer.write(beginning)
        assert (await end_of(reader))[:1] == (b"\x16" if reason == "slow" else b"")
        writer.transport.abort()
    assert time.monotonic() - began >= _PATIENCE_SECONDS - 0.1
    assert [(entry["event"], entry["error"], entry["peer"]) for entry in logged if entry["log_level"] == "warning"] in (
        [("tls_handshake_failed", reason, "127.0.0.1")],
        # Logged before, and at most once in ten seconds.
        [],
    )
    assert (await _refused(impatient))[reason] == before + 1


async def test_a_client_hello_may_come_in_pieces(impatient: EdgeCaller) -> None:
    reader, writer = await on_tcp(impatient.running)
    for piece in (_HELLO[:1], _HELLO[1:4], _HELLO[4:5], _HELLO[5:-1], _HELLO[-1:]):
        writer.write(piece)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        assert await reader.readexactly(1) == b"\x16"
    writer.transport.abort()


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
        assert await crowded.samples("edge_connections") == [({}, 3)]
        with edge_log() as logged:
            for _ in range(5):
                assert await _is_turned_away(crowded)
        assert [(entry["event"], entry["limit"]) for entry in logged] == [
            ("edge_connection_limit_reached", "edge.max_connections")
        ]
        assert await _refused(crowded) == {"full": 5}
        writer.write(crowded.raw_event())
        assert (await crowded.read(reader)).status == 204
    async with asyncio.timeout(30):
        while not await _is_served(crowded):  # noqa: ASYNC110 (a freed connection sends no event)
            await asyncio.sleep(0.05)


async def _is_turned_away(caller: EdgeCaller) -> bool:
    """Return whether a new connection is closed without a word."""
    try:
        reader, writer = await on_tcp(caller.running)
    except ConnectionResetError:
        return True
    ended = await end_of(reader)
    writer.transport.abort()
    return ended == b""


async def _is_served(caller: EdgeCaller) -> bool:
    try:
        return (await caller.notify()).status == 204
    except OSError:
        return False


@pytest.mark.parametrize("beginning", [b"", _HELLO], ids=["silent", "in the middle of TLS"])
async def test_a_stranger_displaces_the_stranger_that_waited_longest_and_no_client(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path, beginning: bytes
) -> None:
    async with edge_with(sandbox, tmp_path, max_handshakes=3) as running, AsyncExitStack() as stack:
        caller = await EdgeCaller.of(running, session)
        client_reader, client_writer = await stack.enter_async_context(caller.connection())
        strangers = []
        for _ in range(4):
            reader, writer = await on_tcp(running)
            stack.callback(writer.transport.abort)
            strangers.append((reader, writer))
            writer.write(beginning)
            # Its answer, if any: now it has its place.
            await reader.readexactly(min(1, len(beginning)))
        async with asyncio.timeout(1.5):
            await end_of(strangers[0][0])
        assert not strangers[1][0].at_eof()
        client_writer.write(caller.raw_event())
        assert (await caller.read(client_reader)).status == 204
        assert await _refused(caller) == {"displaced": 1}
        assert await caller.samples("edge_handshakes") == [({}, 3)]


async def test_an_address_has_a_share_of_the_connections(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with edge_with(sandbox, tmp_path, max_connections_per_address=2) as running, AsyncExitStack() as stack:
        caller = await EdgeCaller.of(running, session)
        for _ in range(2):
            reader, writer = await stack.enter_async_context(caller.connection())
            writer.write(caller.raw_event())
            assert (await caller.read(reader)).status == 204
        assert await _is_turned_away(caller)
        assert await _refused(caller) == {"share": 1}
        async with caller.connection(source="127.0.0.2") as (reader, writer):
            writer.write(caller.raw_event())
            assert (await caller.read(reader)).status == 204


async def test_the_proxy_has_no_share_and_competes_with_no_stranger(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    proxy = EdgeProxySettings(networks=(ip_network("127.0.0.1/32"),))
    limits: dict[str, Any] = {"max_connections": 4, "max_connections_per_address": 1, "max_handshakes": 1}
    async with edge_with(sandbox, tmp_path, proxy=proxy, **limits) as running, AsyncExitStack() as stack:
        caller = await EdgeCaller.of(running, session)
        for _ in range(4):
            reader, writer = await stack.enter_async_context(caller.connection())
            writer.write(caller.raw_event())
            (await caller.read(reader)).error(403)
        assert await _is_turned_away(caller)
        assert await _refused(caller) == {"full": 1}


async def test_a_client_that_is_not_accepted_learns_why_and_keeps_its_connection_no_longer_than_a_handshake(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    limits: dict[str, Any] = {"tls_client_subjects": ("somebody else",), "handshake_timeout_seconds": _PATIENCE_SECONDS}
    async with edge_with(sandbox, tmp_path, **limits) as running:
        caller = await EdgeCaller.of(running, session)
        async with caller.connection() as (reader, writer):
            writer.write(caller.raw_event())
            (await caller.read(reader)).error(403)
            assert await caller.samples("edge_connections") == [({}, 0)]
            assert await end_of(reader) == b""
        assert await _refused(caller) == {"unverified": 1}


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
