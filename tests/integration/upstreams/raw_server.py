"""A server that reads requests and writes whatever bytes it is told to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from adapters.http.connection import Response, encode_request
from adapters.http.pool import ConnectionPool

__all__ = ["RawServer", "Script", "exchange", "pool_at", "raw_server", "refusing", "sends"]

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection, which is closed afterwards."""


@dataclass(slots=True)
class RawServer:
    """A running server."""

    url: str
    tls: list[ssl.SSLObject | None] = field(default_factory=list)
    """The connections so far, oldest first."""
    open: int = 0
    """The number of connections that are open now."""
    most_open: int = 0


@asynccontextmanager
async def raw_server(
    script: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawServer]:
    """Run a server."""

    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        running.tls.append(writer.get_extra_info("ssl_object"))
        running.open += 1
        running.most_open = max(running.most_open, running.open)
        try:
            # asyncio's server reports a cancelled connection as an error.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await script(reader, writer)
        finally:
            running.open -= 1
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    running = RawServer(f"{'https' if tls else 'http'}://{'localhost' if host == '127.0.0.1' else host}:{port}")
    try:
        yield running
    finally:
        server.close()
        left = [task for task in tasks if task is not None and not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left)


@asynccontextmanager
async def refusing(context: ssl.SSLContext) -> AsyncIterator[str]:
    """Run a server that ends each handshake with an alert, as late as it comes over a network."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        is_refused = False
        while not is_refused:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                is_refused = True
                # With TLS 1.3 the client has sent its request by then.
                await asyncio.sleep(0.1)
            writer.write(outgoing.read())
            incoming.write(await reader.read(65_536))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def sends(*answers: bytes) -> Script:
    """Answer each request of a connection with the next bytes, then close it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    return script


@asynccontextmanager
async def pool_at(
    url: str, tls: ssl.SSLContext | None = None, *, connect_seconds: float = 5.0, max_body_bytes: int = 1_000
) -> AsyncIterator[ConnectionPool]:
    """Connect to a server."""
    async with aclosing(
        ConnectionPool(url, tls, connect_timeout_seconds=connect_seconds, max_body_bytes=max_body_bytes)
    ) as pool:
        yield pool


async def exchange(pool: ConnectionPool, method: str = "GET", *, seconds: float = 20.0) -> Response:
    """Send a request and return its response."""
    request = encode_request(method, "/", {"Host": pool.host_header}, None)
    return await pool.exchange(request, asyncio.get_running_loop().time() + seconds, is_head=method == "HEAD")
