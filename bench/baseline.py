"""The baseline: the edge's server, TLS and route, answering 204 to whatever comes.

Runs as a process of its own, ``python -m bench.baseline SETTINGS``, with the gateway's settings; writes its port to
standard output.
"""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from gateway import tls
from gateway.edge.three_ds import PATH
from gateway.settings import EdgeSettings, load

__all__: list[str] = []


async def _post(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=204)


async def _serve(settings: EdgeSettings) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    app = web.Application(client_max_size=settings.max_body_bytes)
    app.router.add_post(PATH, _post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, 0, ssl_context=tls.edge_context(settings)).start()
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await stopped.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve(load(Path(sys.argv[1])).edge))
