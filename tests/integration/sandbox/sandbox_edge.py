"""A small edge that D1 can call: it records all calls and responds as set."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from sandbox import Sandbox
from sandbox.common.tls import server_context
from sandbox.d1.acs.purchase import Flow, Order, Purchase
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.store import CardDetails, Credentials

__all__ = ["INFORMATION", "Edge", "EdgeCall", "EdgeServer", "Reply", "buy", "until"]

INFORMATION = {
    "language": "ar-JO",
    "firstName": "سعاد",
    "mobilePhoneNumber": {"countryCode": "+962", "phoneNumber": "790000000"},
}
_CONSUMER = "/banking/d1/v1/issuers/{issuer}/consumers/{id}"
_ROUTES = (
    ("POST", "/notifications/d1/v1/issuers/{issuer}/cards/{id}/3ds/notifications", "notification"),
    ("POST", f"{_CONSUMER}/notifications", "notification"),
    ("GET", _CONSUMER, "information"),
    ("POST", f"{_CONSUMER}/otp", "otp"),
    ("POST", f"{_CONSUMER}/authentication", "authentication"),
    ("GET", f"{_CONSUMER}/authentication/{{authentication}}", "result"),
    ("GET", "/cms/api/v1/issuers/{issuer}/cards/{id}/credentials", "credentials"),
)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens at the edge or at D1 without an event."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def buy(sandbox: Sandbox, name: str, flow: Flow, **changes: Any) -> Purchase:
    """Start a purchase with the card of that name, for which D1 calls the edge of that name."""
    credentials = Credentials(f"4000{name[1:]:0>12}", "1228")
    card = CardDetails(f"{name}-consumer", "light", InitialState.ACTIVE, credentials=credentials)
    sandbox.store.register(f"{name}-card", card)
    return sandbox.purchases.start(Order(f"{name}-card", flow, **{"poll_seconds": 0.01} | changes))


@dataclass(frozen=True, slots=True)
class EdgeCall:
    """A received notification or callback request."""

    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a call."""

    status: int = 200
    body: Any = None
    """JSON; a string is sent raw; None for no body."""
    content_type: str = "application/json"
    delay_seconds: float = 0.0


def _usual() -> dict[str, list[Reply]]:
    return {
        "notification": [Reply(204)],
        "information": [Reply(body=INFORMATION)],
        "otp": [Reply(204)],
        "authentication": [Reply(body={"authenticationId": "auth-1"})],
        "result": [Reply(body={"authenticationId": "auth-1", "status": "SUCCESSFUL"})],
        "credentials": [Reply(404, {"error": "Card unknown"})],
    }


@dataclass(slots=True)
class Edge:
    """The calls for one caller's card and consumer, and the replies to them."""

    notifications: list[EdgeCall] = field(default_factory=list)
    callbacks: list[EdgeCall] = field(default_factory=list)
    replies: dict[str, list[Reply]] = field(default_factory=_usual)
    """The next replies by kind; the last one repeats."""


class EdgeServer:
    """Serves the edges of all callers."""

    def __init__(self) -> None:
        self.url = ""
        self.token_requests: list[tuple[str, dict[str, str]]] = []
        self.token_reply: Any = {"access_token": "edge-token", "token_type": "Bearer", "expires_in": "60"}
        self.edges: dict[str, Edge] = defaultdict(Edge)
        """By the name with which, and a hyphen, the ids of their cards and consumers begin."""

    @asynccontextmanager
    async def serve(self, sandbox: Sandbox) -> AsyncIterator["EdgeServer"]:
        pki = sandbox.pki
        tls = server_context(pki.edge_server, pki.d1_client_ca)
        app = web.Application()
        app.router.add_post("/authz/d1/v1/oauth2/token", self._token)
        for method, path, kind in _ROUTES:
            app.router.add_route(method, path, partial(self._receive, kind))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
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
        return web.json_response(self.token_reply)

    async def _receive(self, kind: str, request: web.Request) -> web.Response:
        edge = self.edges[request.match_info["id"].partition("-")[0]]
        data = await request.read()
        try:
            body = orjson.loads(data) if data else None
        except orjson.JSONDecodeError:
            edge.notifications.append(EdgeCall(request.path, dict(request.query), data, request.headers))
            return web.Response(status=400)
        call = EdgeCall(request.path, dict(request.query), body, request.headers)
        (edge.notifications if kind == "notification" else edge.callbacks).append(call)
        replies = edge.replies[kind]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        await asyncio.sleep(reply.delay_seconds)
        if reply.body is None:
            return web.Response(status=reply.status)
        data = reply.body.encode() if isinstance(reply.body, str) else orjson.dumps(reply.body)
        return web.Response(status=reply.status, body=data, content_type=reply.content_type)
