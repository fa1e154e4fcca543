"""Connections to the edge: who gets one, and what they carry."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from sandbox import Sandbox
from sandbox.common.pki import make_pki
from sandbox.common.tls import client_context
from tests.integration.edge.edge_caller import EdgeCaller, edge_log, end_of, event, on_tcp, raw_request
from tests.running import edge_tls

_Context = Callable[[Sandbox, Path], ssl.SSLContext]


def _without_certificate(sandbox: Sandbox, _: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=sandbox.pki.server_ca)


def _of_another_authority(sandbox: Sandbox, folder: Path) -> ssl.SSLContext:
    return client_context(make_pki(folder / "other").d1_client, sandbox.pki.server_ca)


def _of_the_gateway_itself(sandbox: Sandbox, _: Path) -> ssl.SSLContext:
    return client_context(sandbox.pki.gateway_client, sandbox.pki.server_ca)


@pytest.mark.parametrize("make", [_without_certificate, _of_another_authority, _of_the_gateway_itself])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_without_a_certificate_of_d1s_authority_there_is_no_connection(
    caller: EdgeCaller, tmp_path: Path, make: _Context, version: ssl.TLSVersion
) -> None:
    context = make(caller.running.sandbox, tmp_path)
    context.minimum_version = context.maximum_version = version
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        # With TLS 1.3 the client learns of the error only when it reads (RFC 8446, section 4.4.2.4).
        with pytest.raises((aiohttp.ClientConnectionError, OSError)):
            await session.post(caller.running.edge + caller.path, json=event())
    assert await caller.stored() == []


async def test_a_version_of_tls_that_is_too_old_gets_no_connection(caller: EdgeCaller) -> None:
    context = edge_tls(caller.running.sandbox)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        async with caller.connection(context):
            pass


async def test_a_caller_without_tls_gets_no_response(caller: EdgeCaller) -> None:
    reader, writer = await on_tcp(caller.running)
    writer.write(caller.raw_event())
    assert b"HTTP" not in await end_of(reader)
    writer.transport.abort()
    assert await caller.stored() == []


async def test_requests_sent_ahead_get_their_responses_in_order(caller: EdgeCaller) -> None:
    operations = [f"op_{number}" for number in range(3, 203)]
    requests = [
        caller.raw_event("op_1"),
        caller.raw(b"no JSON"),
        caller.raw_event("op_2"),
        raw_request(b"", path="/elsewhere"),
        caller.raw_event("op_1"),
        raw_request(b"", method="GET"),
        *map(caller.raw_event, operations),
    ]
    async with caller.connection() as (reader, writer):
        writer.write(b"".join(requests))
        statuses = [(await caller.read(reader)).status for _ in requests]
    assert statuses == [204, 400, 204, 404, 204, 405, *[204] * 200]
    assert await caller.stored_operations() == ["op_1", "op_2", *operations]


async def test_a_body_that_comes_in_pieces_is_taken(caller: EdgeCaller) -> None:
    request = caller.raw_event()
    async with caller.connection() as (reader, writer):
        for start in range(0, len(request), 40):
            writer.write(request[start : start + 40])
            await writer.drain()
            await asyncio.sleep(0.002)
        assert (await caller.read(reader)).status == 204
    assert await caller.stored_operations() == ["op_1"]


async def test_who_hangs_up_in_the_middle_of_a_body_leaves_nothing(caller: EdgeCaller) -> None:
    request = caller.raw_event()
    with edge_log() as logged:
        async with caller.connection() as (_, writer):
            writer.write(request[:-1])
            writer.transport.close()
            async with asyncio.timeout(30):
                # Only the edge's log shows it.
                while not logged:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("callback_abandoned", "warning")]
    assert await caller.stored() == []
    assert (await caller.notify()).status == 204
