"""No smuggled second request: what two readers could read differently is refused, and nothing behind it is read."""

import asyncio
import json
import re

import pytest

from tests.integration.edge.edge_caller import EdgeCaller, edge_log, end_of, event, raw_request
from tests.running import notification_path

_BODY = json.dumps(event()).encode()
_LENGTH = len(_BODY)
_MARK = "5413330089010434"
"""A marker of data that must stay out of the log."""
_NO_CHUNKS = b"0\r\n\r\n"
_CHUNKS = f"{_LENGTH:x}\r\n".encode() + _BODY + b"\r\n" + _NO_CHUNKS


@pytest.mark.parametrize(
    "request_",
    [
        raw_request(_BODY, f"Content-Length: {_LENGTH}", f"Content-Length: {_LENGTH}"),
        raw_request(_BODY, f"Content-Length: {_LENGTH}", "Content-Length: 0"),
        raw_request(_BODY, f"Content-Length: {_LENGTH}, {_LENGTH}"),
        raw_request(_BODY, f"Content-Length: +{_LENGTH}"),
        raw_request(_BODY, f"Content-Length: {hex(_LENGTH)}"),
        raw_request(_BODY, f"Content-Length : {_LENGTH}"),
        raw_request(_NO_CHUNKS, "Transfer-Encoding: chunked", f"Content-Length: {_LENGTH}"),
        raw_request(_NO_CHUNKS, f"Content-Length: {_LENGTH}", "Transfer-Encoding: chunked"),
        raw_request(_NO_CHUNKS, "Transfer-Encoding : chunked"),
        raw_request(_NO_CHUNKS, "Transfer-Encoding: xchunked"),
        raw_request(_NO_CHUNKS, "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        raw_request(_NO_CHUNKS, "Transfer-Encoding: chunked, identity"),
        raw_request(_BODY, "Transfer-Encoding: ", f"Content-Length: {_LENGTH}"),
        raw_request(_BODY, f"Content-Length: {_LENGTH}", "Transfer-Encoding:"),
        raw_request(b"", "Transfer-Encoding: "),
        raw_request(_CHUNKS, "Transfer-Encoding: gzip, chunked"),
        raw_request(_CHUNKS, "Transfer-Encoding: identity, chunked"),
        raw_request(_CHUNKS, "Transfer-Encoding: , chunked"),
        raw_request(_CHUNKS, "Transfer-Encoding: chunked", "Connection: keep-alive").replace(
            b"HTTP/1.1", b"HTTP/1.0", 1
        ),
        raw_request(_BODY, "Transfer-Encoding: identity", f"Content-Length: {_LENGTH}"),
        raw_request(_CHUNKS, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        raw_request(_CHUNKS, "Transfer-Encoding:\r\n chunked"),
        raw_request(_CHUNKS, "Transfer-Encoding: \x0bchunked"),
        raw_request(_CHUNKS.replace(b"\r\n", b"\n", 1), "Transfer-Encoding: chunked"),
        raw_request(_CHUNKS[: -len(_NO_CHUNKS)] + b"0\n\r\n", "Transfer-Encoding: chunked"),
        raw_request(_CHUNKS.replace(b"\r\n", b";a\nb\r\n", 1), "Transfer-Encoding: chunked"),
        raw_request(_CHUNKS.replace(_BODY, _BODY + b"x"), "Transfer-Encoding: chunked"),
        raw_request(b"1" + b"0" * 16 + _CHUNKS, "Transfer-Encoding: chunked"),
        raw_request(_CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n", "Transfer-Encoding: chunked"),
        raw_request(_BODY).replace(b"\r\n", b"\n"),
        raw_request(b"-1\r\n\r\n", "Transfer-Encoding: chunked"),
        raw_request(b"0x0\r\n\r\n", "Transfer-Encoding: chunked"),
        raw_request(_BODY, "X-Folded: a\r\n b"),
        raw_request(_BODY, "X-Null: a\0b"),
        raw_request(_BODY, "X-Bare: a\rb"),
        raw_request(_BODY, "X-Long: " + "x" * 9_000),
        raw_request(_BODY, *(f"X-{number}: x" for number in range(70))),
        raw_request(_BODY).replace(b"HTTP/1.1", b"HTTP/9.9", 1),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        f"NOT HTTP {_MARK}\r\n\r\n".encode(),
        raw_request(b"{}", f"Bad Header {_MARK}"),
        raw_request(b"{}", "Content-Length: -1"),
        raw_request(b"", path="/" + "p" * 20_000),
        raw_request(f"zz\r\n{_MARK}\r\n".encode() + _NO_CHUNKS, "Transfer-Encoding: chunked"),
    ],
    ids=range(44),
)
async def test_what_two_readers_could_read_differently_is_refused_and_nothing_behind_it_is_read(
    caller: EdgeCaller, request_: bytes
) -> None:
    with edge_log() as logged:
        async with caller.connection() as (reader, writer):
            writer.write(request_ + caller.raw_event("op_smuggled"))
            response = await caller.read(reader)
            response.error(400)
            shown = (json.dumps(response.headers) + response.body.decode()).lower()
            assert not {"aiohttp", "python"} & set(re.findall("[a-z]+", shown)), "it names software"
            assert await end_of(reader) == b""
    assert _MARK not in repr(logged)
    assert await caller.stored() == []
    assert (await caller.notify()).status == 204


@pytest.mark.parametrize(
    ("path", "status"),
    [(notification_path("card-1"), 413), ("/elsewhere", 404), (notification_path("card-1", "NOBODY0001"), 404)],
)
async def test_a_refused_request_leaves_no_half_read_body_on_its_connection(
    caller: EdgeCaller, path: str, status: int
) -> None:
    async with caller.connection() as (reader, writer):
        smuggled = caller.raw_event()
        writer.write(raw_request(smuggled, "Content-Length: 1000000", path=path))
        (await caller.read(reader)).error(status)
        writer.write(smuggled)
        assert await end_of(reader) == b""
    assert await caller.stored() == []


@pytest.mark.parametrize(
    "rest",
    [
        b"zz\r\n",
        b"5\r\n{    x",
        b"5;" + b"x" * 600_000,
        b"0" * 600_000,
        b"0\r\n" + b"X-Trailer: x\r\n" * 50_000,
        b"0\r\n" + (b"X-Trailer: " + b"x" * 8_000 + b"\r\n") * 75,
    ],
    ids=["no chunk", "no end of a chunk", "an extension", "a size", "trailers", "long trailers"],
)
async def test_a_body_that_turns_out_to_be_none_is_refused_at_once(caller: EdgeCaller, rest: bytes) -> None:
    async with caller.connection() as (reader, writer), asyncio.timeout(5):
        writer.write(caller.raw(b"", "Transfer-Encoding: chunked"))
        # So that the head is taken before it is known what follows.
        await asyncio.sleep(0.05)
        writer.write(rest + caller.raw_event("op_smuggled"))
        response = await caller.read(reader)
        assert response.error(400) == "the body cannot be read"
        assert response.headers["connection"] == "close"
        assert await end_of(reader) == b""
    assert await caller.stored() == []


async def test_a_refused_request_whose_body_turns_out_to_be_none_ends_its_connection_and_no_more(
    caller: EdgeCaller, caplog: pytest.LogCaptureFixture
) -> None:
    async with caller.connection() as (reader, writer):
        writer.write(raw_request(b"", "Transfer-Encoding: chunked", path="/elsewhere"))
        (await caller.read(reader)).error(404)
        writer.write(b"zz\r\n" + caller.raw_event("op_smuggled"))
        assert await end_of(reader) == b""
    assert await caller.stored() == []
    assert caplog.records == []


async def test_a_body_in_chunks_is_taken_with_extensions_or_trailers_however_small_they_are(caller: EdgeCaller) -> None:
    single = b"".join(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in _BODY.ljust(60_000)) + _NO_CHUNKS
    extended = _CHUNKS.replace(b"\r\n", b';name="' + b"x" * 3_000 + b'"\r\n', 1)
    async with caller.connection() as (reader, writer):
        for body in (single, extended, _CHUNKS[:-2] + b"X-Trailer: x\r\n\r\n"):
            writer.write(caller.raw(b"", "Transfer-Encoding: Chunked"))
            for start in range(0, len(body), 10_000):
                await asyncio.sleep(0.01)
                writer.write(body[start : start + 10_000])
            assert (await caller.read(reader)).status == 204
