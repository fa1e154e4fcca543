"""Baselines of the edge that do less, with the same TLS, route and event loop.

Runs as a process of its own, ``python -m bench.baselines.bare_edge KIND SETTINGS``, with the gateway's settings; writes
its port to standard output. The kinds are ``nothing``, the edge without storage; ``jetstream NATS``, the edge with a
NATS server at that URL as its event log; ``bare``, aiohttp that responds 204 to every request; and ``stream``, see
`bench.baselines.bare_stream`.

The edge in front of NATS JetStream is what an issuer with a message bus might build. It publishes each notification
to one stream in a file on one server, and responds 204 after the stream's acknowledgement. It stores duplicates again,
so it does less than the gateway.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import nats
import uvloop
from aiohttp import web
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig

from adapters.d1.callbacks.schema import THREE_DS_NOTIFICATION_PATH
from bench.baselines.bare_stream import bare_stream
from bench.baselines.parts import edge, settle
from gateway.bootstrap import logging as logs
from gateway.ports import Appendable, Event
from gateway.settings import Settings, load
from gateway.tls import contexts

__all__: list[str] = []

_STREAM: Final = "notifications"


class _Nowhere:
    """Discards events."""

    async def append(self, event: Event) -> bool:
        del event
        return True


@asynccontextmanager
async def _nothing(settings: Settings) -> AsyncIterator[str]:
    async with edge(settings, _Nowhere()) as port:
        yield str(port)


class _Stream:
    """Publishes events to the stream."""

    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream

    async def append(self, event: Event) -> bool:
        # Cheaper than `publish`, which has a time limit too.
        await (await self._stream.publish_async(_STREAM, event.payload))
        return True


@asynccontextmanager
async def _connect(url: str) -> AsyncIterator[Appendable]:
    """Connect to a server with an empty stream for the duration of the block.

    Raises:
        nats.errors.Error: The server is unreachable, or has no JetStream.
    """
    client = await nats.connect(url, allow_reconnect=False)
    try:
        stream = client.jetstream()
        await stream.add_stream(
            StreamConfig(name=_STREAM, subjects=[_STREAM], storage=StorageType.FILE, num_replicas=1)
        )
        yield _Stream(stream)
    finally:
        await client.close()


@asynccontextmanager
async def _jetstream(settings: Settings, url: str) -> AsyncIterator[str]:
    async with _connect(url) as log, edge(settings, log) as port:
        yield str(port)


async def _post(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=204)


@asynccontextmanager
async def _bare(settings: Settings) -> AsyncIterator[str]:
    app = web.Application(client_max_size=settings.edge.max_body_bytes)
    app.router.add_post(THREE_DS_NOTIFICATION_PATH, _post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.edge.host, 0, ssl_context=contexts.edge_context(settings.edge)).start()
        yield str(runner.addresses[0][1])
    finally:
        await runner.cleanup()


_KINDS: Final[Mapping[str, Callable[..., AbstractAsyncContextManager[str]]]] = {
    "nothing": _nothing,
    "jetstream": _jetstream,
    "bare": _bare,
    "stream": bare_stream,
}


async def _serve(kind: str, settings: Settings, *arguments: str) -> None:
    # By default structlog writes every debug line, to where the port is read.
    logs.configure(settings.log.level)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with _KINDS[kind](settings, *arguments) as where:
        settle()
        sys.stdout.write(f"{where}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], load(Path(sys.argv[2])), *sys.argv[3:]))
