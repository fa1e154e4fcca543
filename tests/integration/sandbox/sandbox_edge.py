"""A small edge that D1 can notify: it notes what it is told and answers what it was told to."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sandbox import Sandbox

__all__ = ["Edge", "Received"]


@dataclass(frozen=True, slots=True)
class Received:
    """A notification as it came."""

    path: str
    body: dict[str, Any]
    authorization: str | None
    client: str


@dataclass(slots=True)
class Edge:
    """What came, and what to answer."""

    received: list[Received] = field(default_factory=list)
    token_requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """What to answer to the next notifications; 204 when there is none left."""
    token_answer: Any = field(
        default_factory=lambda: {"access_token": "edge-token", "token_type": "Bearer", "expires_in": "60"}
    )
    url: str = ""

    @asynccontextmanager
    async def serve(self, sandbox: Sandbox) -> AsyncIterator["Edge"]:
        pki = sandbox.pki
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.d1_client_ca)
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_cert_chain(pki.edge_server.certificate, pki.edge_server.key)
        app = web.Application()
        app.router.add_post("/authz/d1/v1/oauth2/token", self._token)
        app.router.add_post("/notifications/d1/v1/{rest:.*}", self._notification)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.token_requests.append((request.headers["Authorization"], form))
        return web.json_response(self.token_answer)

    async def _notification(self, request: web.Request) -> web.Response:
        certificate = request.get_extra_info("peercert")
        client = dict(pair for (pair,) in certificate["subject"])["commonName"]
        self.received.append(Received(request.path, await request.json(), request.headers.get("Authorization"), client))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)
