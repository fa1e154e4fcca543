"""A small edge that D1 can call: it records all calls and responds as set."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from sandbox import Sandbox

__all__ = ["INFORMATION", "CallbackCall", "Edge", "Received", "Reply"]

INFORMATION = {
    "language": "ar-JO",
    "firstName": "سعاد",
    "mobilePhoneNumber": {"countryCode": "+962", "phoneNumber": "790000000"},
}


@dataclass(frozen=True, slots=True)
class Received:
    """A received notification."""

    path: str
    body: dict[str, Any]
    authorization: str | None
    client: str


@dataclass(frozen=True, slots=True)
class CallbackCall:
    """A received callback request."""

    kind: str
    path: str
    query: Mapping[str, str]
    body: Any
    """None without a body."""
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a callback request."""

    status: int = 200
    body: Any = None
    """JSON; a string is sent raw; None for no body."""
    content_type: str = "application/json"
    delay_seconds: float = 0.0

    def response(self) -> web.Response:
        if self.body is None:
            return web.Response(status=self.status)
        data = self.body.encode() if isinstance(self.body, str) else orjson.dumps(self.body)
        return web.Response(status=self.status, body=data, content_type=self.content_type)


def _usual() -> dict[str, list[Reply]]:
    return {
        "information": [Reply(body=INFORMATION)],
        "otp": [Reply(204)],
        "authentication": [Reply(body={"authenticationId": "auth-1"})],
        "result": [Reply(body={"authenticationId": "auth-1", "status": "SUCCESSFUL"})],
        "credentials": [Reply(404, {"error": "Card unknown"})],
    }


@dataclass(slots=True)
class Edge:
    """The received calls, and the responses to send."""

    received: list[Received] = field(default_factory=list)
    callbacks: list[CallbackCall] = field(default_factory=list)
    token_requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """The statuses for the next notifications; 204 after the last one."""
    replies: dict[str, list[Reply]] = field(default_factory=_usual)
    """The replies to the next callback requests by kind; the last one repeats."""
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
        consumer = "/banking/d1/v1/issuers/{issuer}/consumers/{consumer}"
        app.router.add_post(f"{consumer}/notifications", self._notification)
        app.router.add_get(consumer, self._question, name="information")
        app.router.add_post(f"{consumer}/otp", self._question, name="otp")
        app.router.add_post(f"{consumer}/authentication", self._question, name="authentication")
        app.router.add_get(f"{consumer}/authentication/{{id}}", self._question, name="result")
        app.router.add_get("/cms/api/v1/issuers/{issuer}/cards/{card}/credentials", self._question, name="credentials")
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    def kinds(self) -> list[str]:
        return [call.kind for call in self.callbacks]

    def otp(self) -> str:
        """The OTP delivered last."""
        bodies = [call.body for call in self.callbacks if call.kind == "otp"]
        return str(bodies[-1]["otp"]["value"])

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.token_requests.append((request.headers["Authorization"], form))
        return web.json_response(self.token_answer)

    async def _notification(self, request: web.Request) -> web.Response:
        certificate = request.get_extra_info("peercert")
        client = dict(pair for (pair,) in certificate["subject"])["commonName"]
        self.received.append(Received(request.path, await request.json(), request.headers.get("Authorization"), client))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    async def _question(self, request: web.Request) -> web.Response:
        kind = request.match_info.route.name or ""
        data = await request.read()
        body = orjson.loads(data) if data else None
        self.callbacks.append(CallbackCall(kind, request.path, dict(request.query), body, request.headers))
        replies = self.replies[kind]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        await asyncio.sleep(reply.delay_seconds)
        return reply.response()
