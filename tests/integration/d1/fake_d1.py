"""D1 as these tests need it: an HTTP server on loopback that issues tokens, takes card calls and fails on demand."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
from aiohttp import web
from joserfc.jwk import ECKey
from multidict import CIMultiDictProxy

from adapters.d1.api import D1CardIssuer, D1Client, EncryptionKey, IssuerKeys, connect
from adapters.d1.api.endpoints import TOKEN
from gateway.ports import Call
from gateway.settings import UpstreamSettings
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2

ISSUER = "ISSUER0001"
PAN = "4111111111111111"
ASSERTION_KEY = ECKey.generate_key("P-256", {"kid": "issuer-2025"})
D1_KEY = ECKey.generate_key("P-256", {"kid": "d1-2025"})
KEYS = {ISSUER: IssuerKeys([ASSERTION_KEY], [EncryptionKey(ECKey.import_key(D1_KEY.as_dict(private=False)))])}
CREDENTIALS = card_data_pb2.CardCredentials(pan=PAN, expiry=card_data_pb2.CardExpiry(month=3, year=2029))

CREATE = card.CreateCardRequest(consumer_id="consumer-1", card_product_id="product-1")
REGISTER = card.RegisterCardRequest(
    card_id="card-1", consumer_id="consumer-1", card_product_id="product-1", credentials=CREDENTIALS
)
SUSPEND = card.SuspendCardRequest(card_id="card-1", reason_code=card.SUSPEND_REASON_FRAUD)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    method: str
    raw_path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    peer: object

    def json(self) -> Any:
        return orjson.loads(self.body)

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode())


@dataclass(slots=True)
class FakeD1:
    """What D1 is to do, and what it has seen. `token_handler` and `card_handler` may be replaced at any time."""

    url: str = ""
    token_calls: list[Seen] = field(default_factory=list)
    card_calls: list[Seen] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """The tokens issued, oldest first."""
    refused_tokens: set[str] = field(default_factory=set)
    expires_in: object = 900
    token_gate: asyncio.Event = field(default_factory=asyncio.Event)
    """The token endpoint answers only while this is set; it is set at first."""
    token_handler: Handler | None = None
    card_handler: Handler | None = None
    arrival: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def seen(self, *, token_calls: int = 0, card_calls: int = 0) -> None:
        """Wait until so many calls have arrived."""
        async with asyncio.timeout(5), self.arrival:
            await self.arrival.wait_for(
                lambda: len(self.token_calls) >= token_calls and len(self.card_calls) >= card_calls
            )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        is_token_call = request.raw_path == TOKEN.template
        seen = Seen(
            request.method,
            request.raw_path,
            request.headers,
            await request.read(),
            request.transport and request.transport.get_extra_info("peername"),
        )
        (self.token_calls if is_token_call else self.card_calls).append(seen)
        async with self.arrival:
            self.arrival.notify_all()
        if is_token_call:
            await self.token_gate.wait()
            return await (self.token_handler or self._issue_token)(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens or token in self.refused_tokens:
            return web.json_response({"error": "AUTHORIZER_UNAUTHORIZED"}, status=401)
        return await (self.card_handler or _succeed)(request)

    async def _issue_token(self, _request: web.Request) -> web.Response:
        token = f"eyJhbGciOiJFUzI1NiJ9.{secrets.token_urlsafe(48)}.{secrets.token_urlsafe(32)}"
        self.tokens.append(token)
        return web.json_response({"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"})


async def _succeed(request: web.Request) -> web.Response:
    if request.method == "POST" and request.raw_path.endswith("/cards"):
        return web.json_response({"cardId": "crd_1"}, status=201)
    return web.Response(status=204)


def answering(status: int, body: bytes = b"", **headers: str) -> Handler:
    """Make a handler that always gives the same answer."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(
            status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return answer


@asynccontextmanager
async def running_d1(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeD1]:
    """Run a D1 on a free port."""
    d1 = FakeD1()
    d1.token_gate.set()
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", d1.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        d1.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield d1
    finally:
        await runner.cleanup()


@asynccontextmanager
async def cards_at(url: str, tls: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[D1CardIssuer]:
    """Talk with a D1 about cards."""
    async with client_at(url, tls, **limits) as client:
        yield D1CardIssuer(client)


@asynccontextmanager
async def client_at(url: str, tls: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[D1Client]:
    """Talk with a D1."""
    async with connect(UpstreamSettings(base_url=url, **limits), KEYS, tls) as client:
        yield client


def call(seconds: float | None = None, *, correlation_id: str = "correlation-1") -> Call:
    """Make the circumstances of a call, with a deadline so many seconds from now."""
    deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
    return Call(issuer_id=ISSUER, correlation_id=correlation_id, deadline=deadline)
