"""What is taken for a response, however it is framed, cut or malformed."""

import asyncio
import itertools

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.http.connection import ExchangeError, Fate, MalformedResponseError, Response, _ResponseReader
from tests.integration.upstreams.raw_server import exchange, pool_at, raw_server, sends

OK = b"HTTP/1.1 200 OK\r\n"
NEXT = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
SAMPLE = (
    OK
    + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"4\r\n{}  \r\n3;a=b\r\n   \r\n0\r\nX: y\r\n\r\n"
)


@pytest.mark.parametrize(
    ("content", "status", "body", "is_kept"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", 200, b"abc", True),
        (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: 1\r\n\r\n", 200, b"abc", True),
        (OK + b"\r\nuntil the end", 200, b"until the end", False),
        (OK + b"Content-Length: 3\r\nConnection: close\r\n\r\nabc", 200, b"abc", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, b"", False),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, b"", False),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b"", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b"", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", 200, b"a", True),
        (
            b"HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na",
            200,
            b"a",
            True,
        ),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", 200, b"a", True),
        (OK + b"X: " + b"x" * 60_000 + b"\r\nContent-Length: 1\r\n\r\na", 200, b"a", True),
        (OK + b"X: y\r\n" * 199 + b"Content-Length: 1\r\n\r\na", 200, b"a", True),
    ],
)
async def test_a_response_is_read_to_its_end_and_no_further(
    content: bytes, status: int, body: bytes, *, is_kept: bool
) -> None:
    async with raw_server(sends(content, NEXT) if is_kept else sends(content)) as server, pool_at(server.url) as pool:
        response = await exchange(pool)

        assert (response.status, response.body) == (status, body)
        assert len(pool._idle) == is_kept
        if is_kept:
            assert (await exchange(pool)).status == 202
            assert len(server.tls) == 1


@pytest.mark.parametrize("header", [b"Content-Length: 500\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_a_response_to_head_has_no_body_whatever_its_headers_say(header: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + header + b"\r\n")
        await reader.read()

    async with raw_server(script) as server, pool_at(server.url) as pool:
        assert await exchange(pool, "HEAD", seconds=5) == Response(200, "", "", b"")
        assert not pool._idle


async def test_headers_reach_the_response_as_they_were_received() -> None:
    head = OK + b"content-TYPE: text/html; charset=caf\xe9\r\nRetry-After:  7 \r\nContent-Length: 0\r\n\r\n"
    async with raw_server(sends(head)) as server, pool_at(server.url) as pool:
        assert await exchange(pool) == Response(200, "7", "text/html; charset=caf\xe9", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/3.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1, 1\r\n\r\na",
        OK + b"Content-Length: 99999999999999999999999\r\n\r\na",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        OK + b"No colon\r\n\r\n",
        OK + b"Na\0me: x\r\n\r\n",
        OK + b"Name: x\0\r\n\r\n",
        OK + b"Content-Length: 0\r\n\r\nx",
        OK + b"Content-Length: 0\r\n\r\n" + NEXT,
        OK + b"Content-Length: 0\r\nConnection: close\r\n\r\n" + NEXT,
        OK + b"X: y\r\n" * 201 + b"\r\n",
        OK + b"X: " + b"x" * 70_000,
        OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000,
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * 1_000_000,
        OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 1_000_000,
        OK + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        OK + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        OK + b"\r\n" + b"x" * 1001,
    ],
    ids=lambda content: content[:60].decode("latin-1"),
)
async def test_what_is_no_response_ends_the_connection(content: bytes) -> None:
    async with raw_server(sends(content, NEXT)) as server, pool_at(server.url) as pool:
        with pytest.raises(MalformedResponseError) as caught:
            await exchange(pool)

        assert caught.value.fate is Fate.BROKEN_RESPONSE
        assert not pool._idle


async def test_a_second_response_that_nobody_asked_for_never_answers_the_next_request() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 0\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 299 Smuggled\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with raw_server(script) as server, pool_at(server.url) as pool:
        for number in (1, 2, 3):
            assert (await exchange(pool)).status == 200
            assert len(server.tls) == number
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_response_cut_at_any_byte_is_a_broken_one(*, is_reset: bool) -> None:
    cuts = iter(range(len(SAMPLE) + 1))

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SAMPLE[: next(cuts)])
        if is_reset:
            await asyncio.sleep(0.001)
            writer.transport.abort()

    async with raw_server(script) as server, pool_at(server.url) as pool:
        for cut in range(len(SAMPLE)):
            with pytest.raises(ExchangeError) as caught:
                await exchange(pool)
            assert caught.value.fate is (Fate.BROKEN_RESPONSE if cut else Fate.NO_RESPONSE), cut
            assert not isinstance(caught.value, MalformedResponseError)
        assert (await exchange(pool)).body == b"{}     "


async def test_a_response_that_comes_byte_by_byte_is_whole() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for place in range(len(SAMPLE)):
            writer.write(SAMPLE[place : place + 1])
            await asyncio.sleep(0)

    async with raw_server(script) as server, pool_at(server.url) as pool:
        assert (await exchange(pool)).body == b"{}     "


async def test_a_head_that_is_slow_meets_the_deadline() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    async with raw_server(script) as server, pool_at(server.url) as pool:
        with pytest.raises(ExchangeError) as caught:
            await exchange(pool, seconds=0.3)

    assert isinstance(caught.value.fault, TimeoutError)
    assert caught.value.fate is Fate.BROKEN_RESPONSE


_TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).filter(
    lambda name: name not in ("content-length", "transfer-encoding", "connection", "upgrade")
)
_VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)


@st.composite
def _responses(draw: st.DrawFn) -> bytes:
    """Draw responses, most of them well-formed."""
    status = draw(st.sampled_from([200, 201, 204, 304, 400, 404, 500, 503]))
    headers = [
        (name.encode(), value.encode()) for name, value in draw(st.lists(st.tuples(_TOKENS, _VALUES), max_size=5))
    ]
    body = draw(st.binary(max_size=200))
    framing = draw(st.sampled_from(["length", "chunked", "close", "wrong length"]))
    if framing == "length":
        headers.append((b"Content-Length", b"%d" % len(body)))
    elif framing == "wrong length":
        headers.append((b"Content-Length", b"%d" % draw(st.integers(0, 250))))
    elif framing == "chunked":
        headers.append((b"Transfer-Encoding", b"chunked"))
        sizes = draw(st.lists(st.integers(1, 60), max_size=6))
        chunks = []
        for size in sizes:
            chunk, body = body[:size], body[size:]
            if chunk:
                chunks.append(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        body = b"".join(chunks) + b"0\r\n\r\n"
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"HTTP/1.1 %d Reason\r\n%b\r\n%b" % (status, head, body)


def _read_by_h11(content: bytes) -> tuple[int, bytes] | None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "d1")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(content)
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailing, _ = connection.trailing_data
                return None if trailing else (status, body)
            elif event in (h11.NEED_DATA, h11.PAUSED):
                return None
    except h11.RemoteProtocolError:
        return None


def _read_by_us(content: bytes, cuts: list[int]) -> tuple[int, bytes] | None:
    reader = _ResponseReader(max_body_bytes=10_000)
    places = [0, *sorted({cut % len(content) for cut in cuts}), len(content)]
    try:
        for start, end in itertools.pairwise(places):
            if start < end and not (reader.is_complete and not reader.is_reusable):
                reader.feed(content[start:end])
    except MalformedResponseError:
        return None
    if not reader.is_complete and not (reader.has_head and reader.ends_with_connection):
        return None
    response = reader.response()
    return response.status, response.body


@settings(max_examples=400, deadline=None)
@given(content=_responses(), cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_responses_in_any_pieces_are_read_as_h11_reads_them(content: bytes, cuts: list[int]) -> None:
    expected, found = _read_by_h11(content), _read_by_us(content, cuts)
    if content.split(b" ")[1] in (b"204", b"304"):
        # Headers of these may promise a body, after which h11 expects it or reads it as the next response.
        assert found is None or found[1] == b""
        return
    assert found == expected
