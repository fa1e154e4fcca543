"""The baselines: what the edge would cost if it did less, with the same TLS, the same route and the same loop.

Runs as a process of its own, ``python -m bench.baseline KIND SETTINGS``, with the gateway's settings; writes its port
to standard output. The kinds are ``nothing``, the edge with all that it does but the storing; ``bare``, aiohttp
answering 204 to whatever comes; and ``stream``, see `bench.bare_stream`.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from aiohttp import web

from bench.bare_stream import bare_stream
from gateway import logs, tls
from gateway.d1_outbound import THREE_DS_NOTIFICATION_PATH
from gateway.edge.clients import Clients
from gateway.edge.server import EdgeServer, Limits
from gateway.edge.telemetry import EdgeTelemetry
from gateway.edge.three_ds import ThreeDSNotifications
from gateway.issuers import Issuers
from gateway.ports import Event
from gateway.settings import Settings, load
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Untraced

__all__: list[str] = []

# As `d1-gateway serve` has it, so that nobody is ahead by collecting less.
_GC_THRESHOLD = (10_000, 20, 50)


class _Nowhere:
    """Takes events and forgets them."""

    async def append(self, event: Event) -> bool:
        del event
        return True


@asynccontextmanager
async def _nothing(settings: Settings) -> AsyncIterator[str]:
    issuers = Issuers(settings.issuers)
    edge = EdgeServer(
        callbacks=[ThreeDSNotifications(issuers, _Nowhere())],
        clients=Clients(),
        tokens=None,
        telemetry=EdgeTelemetry(issuers, Metrics(), Untraced()),
        limits=Limits(max_body_bytes=settings.edge.max_body_bytes),
        drain_grace_seconds=settings.drain_grace_seconds,
    )
    try:
        yield str(await edge.start(settings.edge.host, 0, tls.edge_context(settings.edge)))
    finally:
        await edge.stop()


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
        await web.TCPSite(runner, settings.edge.host, 0, ssl_context=tls.edge_context(settings.edge)).start()
        yield str(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _serve(kind: str, settings: Settings) -> None:
    # Left unconfigured, structlog would write every debug line, and to where the port is read.
    logs.configure(settings.log.level)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with {"nothing": _nothing, "bare": _bare, "stream": bare_stream}[kind](settings) as where:
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLD)
        sys.stdout.write(f"{where}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], load(Path(sys.argv[2]))))
