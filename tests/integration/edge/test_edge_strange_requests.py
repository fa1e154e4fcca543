"""Requests that D1 would never send: every response is the edge's own, and counted."""

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox import Sandbox
from tests.integration.edge.edge_caller import OAUTH, EdgeCaller, event, raw_request
from tests.integration.edge.edge_gateways import edge_with

_MARK = "5413330089010434"
_BODY = json.dumps(event()).encode()
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_LAST = f"GET /{_MARK} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n".encode()
"""Sent after each request, so that the edge closes the connection."""


def _get(target: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: edge", *headers, "", ""]).encode()


_STRANGE = {
    "an expectation": raw_request(_BODY, f"Expect: 200-{_MARK}"),
    "an expectation at an unknown path": raw_request(b"{}", f"Expect: 200-{_MARK}", path="/nope"),
    "an expectation and another method": raw_request(b"{}", f"Expect: {_MARK}", method="PUT"),
    "an expectation that is no text": raw_request(b"{}", "Expect: 200-x").replace(b"200-x", b"\xff\xfe", 1),
    "an expectation that is empty": raw_request(b"{}", "Expect: "),
    "many expectations": raw_request(b"{}", f"Expect: {_MARK}", "Expect: 100-continue"),
    "an expectation of HTTP/1.0": raw_request(b"{}", f"Expect: {_MARK}", "Connection: keep-alive").replace(
        b"HTTP/1.1", b"HTTP/1.0", 1
    ),
    "a body far too large that waits": raw_request(b"", "Content-Length: 99999999", "Expect: 100-continue"),
    "a body that is never requested": raw_request(b"", "Content-Length: 4000", "Expect: 100-continue", path="/nope"),
    "a web socket": _get(f"/{_MARK}", "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {_MARK}"),
    "a web socket with a body": raw_request(b"{}", "Connection: Upgrade", f"Upgrade: {_MARK}"),
    "HTTP/2 by upgrade": _get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": _get(f"{_MARK}.example:443", method="CONNECT"),
    "CONNECT without a port": _get(_MARK, method="CONNECT"),
    "CONNECT to a path": _get(f"/{_MARK}", method="CONNECT"),
    "TRACE": _get(f"/{_MARK}", f"X-Secret: {_MARK}", method="TRACE"),
    "OPTIONS of everything": _get("*", method="OPTIONS"),
    "OPTIONS": _get(f"/{_MARK}", method="OPTIONS"),
    "HEAD": _get(f"/{_MARK}", method="HEAD"),
    "HEAD of what is broken": _get("/", "Content-Length: x", method="HEAD"),
    "a method of its own": _get("/", method=f"M{_MARK}"),
    "a method in small letters": _get("/", method="get"),
    "a method that is no word": _get("/", method=f"<{_MARK}>"),
    "a whole address": _get(f"http://user:{_MARK}@elsewhere.example/{_MARK}"),
    "a whole address with a bad port": _get("http://elsewhere.example:99999999/"),
    "a whole address with a port that is no number": _get(f"http://elsewhere.example:{_MARK}x/"),
    "a whole address with half a bracket": _get("http://[::1/"),
    "a whole address without a host": _get("http:///"),
    "a relative address": _get(_MARK),
    "two slashes": _get(f"//{_MARK}/..//x"),
    "two slashes and half a bracket": _get(f"//[{_MARK}"),
    "a fragment": _get(f"/#{_MARK}"),
    "escapes that are none": _get(f"/%zz%{_MARK}%"),
    "escapes that are no text": _get("/%ff%fe"),
    "bytes that are no text": _get("/x").replace(b"/x", b"/\xff\xfe", 1),
    "an escaped null": _get("/%00"),
    "no host": f"GET /{_MARK} HTTP/1.1\r\n\r\n".encode(),
    "two hosts": _get("/", f"Host: {_MARK}"),
    "a host that is none": b"GET / HTTP/1.1\r\nHost: \xff[\r\n\r\n",
    "no version": f"GET /{_MARK}\r\n\r\n".encode(),
    "another version": _get("/").replace(b"HTTP/1.1", f"HTTP/{_MARK}".encode(), 1),
    "another protocol": f"GET / RTSP/1.0\r\nX: {_MARK}\r\n\r\n".encode(),
    "a content type that is none": raw_request(_BODY).replace(b"application/json", f';;{_MARK}="'.encode(), 1),
    "a charset that is none": raw_request(_BODY).replace(b"application/json", f"text/x; charset={_MARK}".encode(), 1),
    "an encoding that is none": raw_request(_BODY, f"Content-Encoding: {_MARK}"),
    "an encoding that is not what it says": raw_request(_MARK.encode(), "Content-Encoding: br"),
    "chunks that are none": raw_request(f"{_MARK}zz\r\n".encode(), "Transfer-Encoding: chunked"),
    "a range": _get("/", f"Range: bytes={_MARK}-"),
    "a date that is none": _get("/", f"If-Modified-Since: {_MARK}"),
    "a forwarded address": _get("/", f"Forwarded: for={_MARK};;=", f"X-Forwarded-For: {_MARK}"),
    "a cookie that is none": _get("/", f"Cookie: ={_MARK};;\x80"),
    "headers without an end": _get("/", *(f"X-{number}: {_MARK}" for number in range(100))),
    "a long line": _get("/" + _MARK * 1000),
}


async def _responses(caller: EdgeCaller, request: bytes) -> bytes:
    """Send a request and one more; return all responses."""
    async with caller.connection() as (reader, writer), asyncio.timeout(20):
        writer.write(request + _LAST)
        return await reader.read()


async def _counted(caller: EdgeCaller) -> Counter[str]:
    """Return the edge's count of responses by status."""
    found: Counter[str] = Counter()
    for labels, value in await caller.samples("edge_requests_total"):
        found[labels["status"]] += int(value)
    return found


@pytest.mark.parametrize(
    ("edge", "statuses"),
    [
        ({}, {"204", "400", "404", "405", "413", "415"}),
        ({"oauth": OAUTH}, {"400", "401"}),
        ({"tls_client_subjects": ("somebody else",)}, {"400", "403"}),
    ],
    ids=["a certificate is required", "a token is required too", "the certificate of another is required"],
)
async def test_every_response_is_the_edges_own_and_counted(
    sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path, edge: dict[str, Any], statuses: set[str]
) -> None:
    async with edge_with(sandbox, tmp_path, **edge) as running:
        caller = await EdgeCaller.of(running, session)
        sent: Counter[str] = Counter()
        for name, request in _STRANGE.items():
            responses = await _responses(caller, request)
            found = [status.decode() for status in _STATUS.findall(responses)]
            assert found, name
            assert "100" not in found, name
            assert responses.count(b"Server: d1-gateway\r\n") == len(found), name
            for word in ("aiohttp", "python", _MARK):
                assert word not in responses.decode().lower(), name
            sent.update(found)
        assert await _counted(caller) == sent
        assert await caller.stored_operations() == ["op_1"] * ("204" in statuses)
        assert sent.keys() == statuses
