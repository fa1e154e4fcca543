"""Connections to the edge: who gets one, and what they carry."""

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from sandbox import Sandbox
from sandbox.common.pki import make_pki
from sandbox.common.tls import client_context
from tests.integration.edge.edge_caller import EdgeCaller, event, raw_request, stored
from tests.running import Running, edge_tls, notification_path

_Context = Callable[[Sandbox, Path], ssl.SSLContext]


def _without_certificate(sandbox: Sandbox, folder: Path) -> ssl.SSLContext:
    del folder
    return ssl.create_default_context(cafile=sandbox.pki.server_ca)


def _of_another_authority(sandbox: Sandbox, folder: Path) -> ssl.SSLContext:
    return client_context(make_pki(folder / "other").d1_client, sandbox.pki.server_ca)


def _of_the_gateway_itself(sandbox: Sandbox, folder: Path) -> ssl.SSLContext:
    del folder
    return client_context(sandbox.pki.gateway_client, sandbox.pki.server_ca)


@pytest.mark.parametrize("make", [_without_certificate, _of_another_authority, _of_the_gateway_itself])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_without_a_certificate_of_d1s_authority_there_is_no_connection(
    running: Running, tmp_path: Path, make: _Context, version: ssl.TLSVersion
) -> None:
    context = make(running.sandbox, tmp_path)
    context.minimum_version = context.maximum_version = version
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        # With TLS 1.3 the client learns of the error only when it reads (RFC 8446, section 4.4.2.4).
        with pytest.raises((aiohttp.ClientConnectionError, OSError)):
            await session.post(running.edge + notification_path("card-1"), json=event())
    assert await stored(running) == []


async def test_a_version_of_tls_that_is_too_old_gets_no_connection(running: Running) -> None:
    context = edge_tls(running.sandbox)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    host, _, port = running.addresses.edge.rpartition(":")
    with pytest.raises((ssl.SSLError, OSError)):
        await asyncio.open_connection(host, int(port), ssl=context)


async def test_a_caller_without_tls_gets_no_answer(running: Running) -> None:
    host, _, port = running.addresses.edge.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw_request(json.dumps(event()).encode()))
    try:
        async with asyncio.timeout(10):
            assert b"HTTP" not in await reader.read()
    except ConnectionResetError:
        pass
    finally:
        writer.transport.abort()
    assert await stored(running) == []


async def test_a_connection_serves_one_request_after_the_other(caller: EdgeCaller) -> None:
    async with caller.connection() as (reader, writer):
        for number in range(3):
            writer.write(raw_request(json.dumps(event(operationId=f"op_{number}")).encode()))
            assert (await caller.read(reader)).status == 204
        writer.write(raw_request(b"{}"))
        (await caller.read(reader)).error(400)
        writer.write(raw_request(json.dumps(event(operationId="op_3")).encode()))
        assert (await caller.read(reader)).status == 204
    held = [each.three_ds_operation.operation_id for each in await stored(caller.running)]
    assert held == ["op_0", "op_1", "op_2", "op_3"]


async def test_requests_sent_ahead_are_answered_in_order(caller: EdgeCaller) -> None:
    first, second = (json.dumps(event(operationId=name)).encode() for name in ("op_1", "op_2"))
    requests = [
        raw_request(first),
        raw_request(b"no JSON"),
        raw_request(second),
        raw_request(b"", path="/elsewhere"),
        raw_request(first),
        raw_request(b"", method="GET"),
    ]
    async with caller.connection() as (reader, writer):
        writer.write(b"".join(requests))
        responses = [(await caller.read(reader)).status for _ in requests]
    assert responses == [204, 400, 204, 404, 204, 405]
    assert [each.three_ds_operation.operation_id for each in await stored(caller.running)] == ["op_1", "op_2"]


async def test_a_body_that_comes_in_pieces_is_taken(caller: EdgeCaller) -> None:
    request = raw_request(json.dumps(event()).encode())
    async with caller.connection() as (reader, writer):
        for start in range(0, len(request), 40):
            writer.write(request[start : start + 40])
            await writer.drain()
            await asyncio.sleep(0.002)
        assert (await caller.read(reader)).status == 204
    assert len(await stored(caller.running)) == 1


async def test_a_client_that_expects_100_continue_gets_it(caller: EdgeCaller) -> None:
    body = json.dumps(event()).encode()
    async with caller.connection() as (reader, writer):
        writer.write(raw_request(b"", f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert (await caller.read(reader)).status == 100
        writer.write(body)
        assert (await caller.read(reader)).status == 204


async def test_who_hangs_up_in_the_middle_of_a_body_leaves_nothing(caller: EdgeCaller) -> None:
    body = json.dumps(event()).encode()
    with capture_logs() as logged:
        async with caller.connection() as (_, writer):
            writer.write(raw_request(body[:-1], f"Content-Length: {len(body)}"))
            await writer.drain()
            await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            # Only the edge's log shows it.
            while not logged:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("callback_rejected", "warning")]
    assert await stored(caller.running) == []
    assert (await caller.notify()).status == 204
