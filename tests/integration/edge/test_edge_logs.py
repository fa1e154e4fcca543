"""The edge's lines in the log of a gateway process: one for each error, without request data."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.integration.edge.edge_caller import TOKEN_PATH, event, raw_request
from tests.running import edge_session, edge_tls, notification_path

_MARK = "5413330089010434"
"""A marker of data that must stay out of the log."""


def _requests() -> list[tuple[int, str, dict[str, Any]]]:
    """Requests full of the mark: the expected status, the path, and the rest."""
    path, text = notification_path("card-1"), {"Content-Type": "application/json"}
    return [
        (204, path, {"json": event(consumerId=_MARK, error=_MARK, later=_MARK, details={"pan": _MARK})}),
        (204, path, {"json": event(operationId="op_2"), "headers": {"Authorization": f"Bearer {_MARK}"}}),
        (400, path, {"json": event(operationId=f"{_MARK}!")}),
        (400, path, {"json": event(details=_MARK)}),
        (400, path, {"data": _MARK + "{", "headers": text}),
        (400, path, {"data": f"no gzip {_MARK}", "headers": text | {"Content-Encoding": "gzip"}}),
        (400, notification_path(f"{_MARK}.x"), {"json": event()}),
        (400, notification_path(_MARK), {"json": {}}),
        (404, notification_path("card-1", _MARK[:10]), {"json": event()}),
        (404, f"/{_MARK}?pan={_MARK}", {"json": event()}),
        (404, TOKEN_PATH, {"data": {"client_secret": _MARK}}),
        (413, path, {"data": _MARK * 10_000, "headers": text}),
        (415, path, {"data": {"pan": _MARK}}),
    ]


async def _send_what_is_no_http(sandbox: Sandbox, edge: str) -> None:
    host, _, port = edge.removeprefix("https://").rpartition(":")
    for request in (
        f"{_MARK} {_MARK}\r\n\r\n".encode(),
        raw_request(b"{}", f"Bad Header {_MARK}"),
        raw_request(f"zz{_MARK}\r\n".encode(), "Transfer-Encoding: chunked"),
    ):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=edge_tls(sandbox))
        writer.write(request)
        async with asyncio.timeout(10):
            assert b" 400 " in await reader.readline()
        writer.transport.abort()
    reader, writer = await asyncio.open_connection(host, int(port), ssl=edge_tls(sandbox))
    writer.write(raw_request(_MARK.encode(), "Content-Length: 500"))
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.transport.abort()


async def test_request_data_stays_out_of_the_log_but_every_error_is_logged(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as sandbox, edge_session(sandbox) as session:
        async with await GatewayProcess.start(GatewayConfig.of(sandbox, tmp_path), tmp_path) as gateway:
            requests = _requests()
            for status, path, arguments in requests:
                async with session.post(gateway.edge + path, **arguments) as response:
                    assert (response.status, path) == (status, path)
            await _send_what_is_no_http(sandbox, gateway.edge)
            connector = aiohttp.TCPConnector(ssl=edge_tls(sandbox))
            async with aiohttp.ClientSession(connector=connector) as other:
                headers = {"x-correlation-id": "known-42"}
                await other.post(gateway.edge + "/elsewhere", headers=headers)
        written = gateway.log.read_text()
    assert _MARK not in written
    lines = [json.loads(line) for line in written.splitlines()]
    refused = [line for line in lines if line["event"] == "callback_rejected"]
    assert all(line["error"] and line["correlation_id"] for line in refused)
    expected = [status for status, _, _ in requests if status != 204]
    assert [line["status"] for line in refused][: len(expected)] == expected
    # Of the malformed requests, only the interrupted body gets far enough to count as a callback.
    assert [line["status"] for line in refused][len(expected) :] == [400, 404]
    assert [line["status"] for line in refused if line["correlation_id"] == "known-42"] == [404]
    assert (refused[0]["issuer_id"], refused[0]["card_id"]) == ("SANDBOX001", "card-1"), "what to fetch from D1"
