"""An identity provider's JWKS endpoint on a real socket."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(slots=True)
class Provider:
    """What it responds with, and the number of requests."""

    document: bytes
    status: int = 200
    location: str | None = None
    request_count: int = 0
    url: str = ""
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    """Clear it to let requests wait."""

    async def answer(self, _: web.Request) -> web.Response:
        self.request_count += 1
        await self.opened.wait()
        headers = {"location": self.location} if self.location is not None else {}
        return web.Response(body=self.document, status=self.status, headers=headers)


@asynccontextmanager
async def provider(document: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """Serve a document at ``/jwks``."""
    served = Provider(document)
    served.opened.set()
    application = web.Application()
    application.router.add_get("/jwks", served.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        served.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/jwks"
        yield served
    finally:
        served.opened.set()
        await runner.cleanup()
