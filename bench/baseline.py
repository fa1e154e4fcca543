"""The baselines: what the edge would cost if it did less, with the same TLS, the same route and the same loop.

Runs as a process of its own, ``python -m bench.baseline KIND SETTINGS``, with the gateway's settings; writes its port
to standard output. The kinds are ``nothing``, the edge with all that it does but the storing; ``jetstream NATS``, the
same with a NATS server at that URL as its log, see `bench.jetstream`; ``bare``, aiohttp answering 204 to whatever
comes; and ``stream``, see `bench.bare_stream`.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web

from adapters.d1.callbacks.schema import THREE_DS_NOTIFICATION_PATH
from bench.bare_stream import bare_stream
from bench.jetstream import jetstream
from bench.parts import edge, settle
from gateway.bootstrap import logging as logs
from gateway.ports import Event
from gateway.settings import Settings, load
from gateway.tls import contexts

__all__: list[str] = []


class _Nowhere:
    """Takes events and forgets them."""

    async def append(self, event: Event) -> bool:
        del event
        return True


@asynccontextmanager
async def _nothing(settings: Settings) -> AsyncIterator[str]:
    async with edge(settings, _Nowhere()) as port:
        yield str(port)


@asynccontextmanager
async def _jetstream(settings: Settings, url: str) -> AsyncIterator[str]:
    async with jetstream(url) as log, edge(settings, log) as port:
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
    # Left unconfigured, structlog would write every debug line, and to where the port is read.
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
