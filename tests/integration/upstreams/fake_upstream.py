"""An upstream as these tests need it: a socket on loopback that sends, byte by byte, the replies that it is given."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import parse_qs

import orjson
import pytest

from gateway.errors import GatewayError
from gateway.ports import Call

ISSUER = "ISSUER0001"

_Upstream = TypeVar("_Upstream", bound="FakeUpstream")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    peer: object

    def json(self) -> Any:
        return orjson.loads(self.body)

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode())


@dataclass(frozen=True, slots=True)
class Reply:
    """What to write, and what becomes of the connection then."""

    content: bytes = b""
    then: Literal["closes", "stays open", "hangs"] = "closes"


Answer: TypeAlias = Reply | Callable[[Seen], Awaitable[Reply]]

BREAK = Reply()
HANG = Reply(then="hangs")
TRUNCATED = Reply(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")


def reply(body: Any = b"", status: int = 200, *, closes: bool = False, **headers: str) -> Reply:
    """Make an HTTP response; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(content)),
        "Connection": "close" if closes else "keep-alive",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in named.items())]
    return Reply("\r\n".join(lines).encode() + b"\r\n\r\n" + content, "closes" if closes else "stays open")


@dataclass(slots=True)
class FakeUpstream:
    """What the upstream is to send, and what it has seen."""

    replies: list[Answer] = field(default_factory=list)
    """One a request; the last one serves all that follow."""
    greeting: Reply | None = None
    """Sent on each connection, which then ends, before anything is read."""
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has left while it waited."""
    _next: int = 0
    _server: asyncio.Server | None = None
    _connections: set["asyncio.Task[None]"] = field(default_factory=set)
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def arrived(self, count: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(30), self._arrival:
            await self._arrival.wait_for(lambda: len(self.seen) >= count)

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """Close the port and keep the connections."""
        assert self._server is not None
        self._server.close()

    async def stop(self) -> None:
        """Close the port and every connection."""
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def answer(self, seen: Seen) -> Reply:
        """Answer a request."""
        self._next += 1
        return await answered(self.replies[min(self._next, len(self.replies)) - 1], seen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        # Cancellation is swallowed here and only here: asyncio's server reports a cancelled connection as an error.
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            if self.greeting is not None:
                await _send(writer, self.greeting)
            while self.greeting is None:
                seen = await self._read(reader, writer)
                answer = await self.answer(seen)
                await _send(writer, answer)
                if answer.then == "hangs":
                    await reader.read()
                    self.hung_up.set()
                if answer.then != "stays open":
                    break
        writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = line.split(" ")
        seen = Seen(method, path, headers, body, writer.get_extra_info("peername"))
        self.seen.append(seen)
        async with self._arrival:
            self._arrival.notify_all()
        return seen


async def answered(answer: Answer, seen: Seen) -> Reply:
    """Make the reply to a request."""
    return answer if isinstance(answer, Reply) else await answer(seen)


async def _send(writer: asyncio.StreamWriter, sent: Reply) -> None:
    writer.write(sent.content)
    await writer.drain()


@asynccontextmanager
async def running(upstream: _Upstream) -> AsyncIterator[_Upstream]:
    """Run an upstream on a free port."""
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


def call(seconds: float | None = None) -> Call:
    """Make the circumstances of a call, with a deadline so many seconds from now."""
    deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
    return Call(issuer_id=ISSUER, correlation_id="correlation-1", deadline=deadline)


async def failure_of(made: Awaitable[object]) -> GatewayError:
    """Await a call that must fail, and return its error."""
    with pytest.raises(GatewayError) as caught:
        await made
    return caught.value


def kind_of(error: GatewayError) -> tuple[str, str]:
    """Name an error's reason and its outcome."""
    return error.reason_name, error.outcome_name
