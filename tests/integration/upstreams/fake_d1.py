"""D1 as these tests need it: it issues tokens, and replies to calls that bring one."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from joserfc.jwk import ECKey

from adapters.d1.api import D1Client, EncryptionKey, Identity, IssuerKeys, connect
from adapters.d1.api.endpoints import TOKEN
from adapters.d1.api.errors import D1
from adapters.d1.api.oauth import TokenSource
from adapters.http.client import HttpExchange
from gateway.settings import UpstreamSettings
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2
from tests.integration.upstreams.fake_upstream import ISSUER, Answer, FakeUpstream, Reply, Seen, answered, reply

OTHER_ISSUER = "ISSUER0002"
PAN = "4111111111111111"
ASSERTION_KEY = ECKey.generate_key("P-256", {"kid": "issuer-2025"})
D1_KEY = ECKey.generate_key("P-256", {"kid": "d1-2025"})
KEYS = {ISSUER: IssuerKeys([ASSERTION_KEY], [EncryptionKey(ECKey.import_key(D1_KEY.as_dict(private=False)))])}
CREDENTIALS = card_data_pb2.CardCredentials(pan=PAN, expiry=card_data_pb2.CardExpiry(month=3, year=2029))

CREATE = card.CreateCardRequest(consumer_id="consumer-1", card_product_id="product-1")
REGISTER = card.RegisterCardRequest(
    card_id="card-1", consumer_id="consumer-1", card_product_id="product-1", credentials=CREDENTIALS
)
SUSPEND = card.SuspendCardRequest(card_id="card-1", reason_code="FRAUD")
CREATED = reply({"cardId": "crd_1"}, 201)
DONE = reply(status=204)


@dataclass(slots=True)
class FakeD1(FakeUpstream):
    """A D1 that takes every assertion, unless `token_reply` replaces its token endpoint."""

    replies: list[Answer] = field(default_factory=lambda: [DONE])
    tokens: list[str] = field(default_factory=list)
    """The tokens issued, oldest first."""
    refused_tokens: set[str] = field(default_factory=set)
    expires_in: object = 900
    """None to leave it out."""
    token_gate: asyncio.Event = field(default_factory=asyncio.Event)
    """The token endpoint replies only while this is set; it is set at first."""
    token_reply: Answer | None = None

    def __post_init__(self) -> None:
        self.token_gate.set()

    @property
    def token_calls(self) -> list[Seen]:
        return [each for each in self.seen if each.path == TOKEN.template]

    @property
    def calls(self) -> list[Seen]:
        return [each for each in self.seen if each.path != TOKEN.template]

    async def answer(self, seen: Seen) -> Reply:
        if seen.path == TOKEN.template:
            await self.token_gate.wait()
            return await answered(self.token_reply or self.issue_token, seen)
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens or token in self.refused_tokens:
            return reply({"error": "AUTHORIZER_UNAUTHORIZED"}, 401)
        return await FakeUpstream.answer(self, seen)

    async def issue_token(self, _request: Seen) -> Reply:
        token = f"eyJhbGciOiJFUzI1NiJ9.{secrets.token_urlsafe(48)}.{secrets.token_urlsafe(32)}"
        self.tokens.append(token)
        # The calls that follow open connections of their own.
        lifetime = {} if self.expires_in is None else {"expires_in": self.expires_in}
        return reply({"access_token": token, "token_type": "Bearer", **lifetime}, closes=True)


@asynccontextmanager
async def client_at(
    url: str, tls: ssl.SSLContext | None = None, *, client_certificate: Callable[[], str] = str, **limits: Any
) -> AsyncIterator[D1Client]:
    """Talk with a D1."""
    settings = UpstreamSettings(base_url=url, **limits)
    async with connect(settings, KEYS, {ISSUER: Identity(tls, client_certificate)}) as client:
        yield client


@dataclass(slots=True)
class Tokens:
    """The tokens that an adapter has of a D1, on a clock that goes only when it is moved."""

    source: TokenSource
    clock: SimpleNamespace

    async def get(self, issuer_id: str = ISSUER) -> str:
        return await self.source.get(issuer_id, "correlation-1")

    async def renew(self) -> str:
        """Have another token fetched than the one that there is, if need be the first."""
        token = await self.get()
        self.source.accepted(ISSUER, token)
        self.source.discard(ISSUER, token)
        return await self.get()

    async def idle(self) -> None:
        """Wait until no fetch runs."""
        fetch = self.source._caches[ISSUER].fetch
        if fetch is not None:
            await asyncio.wait([fetch], timeout=30)


@asynccontextmanager
async def tokens_at(d1: FakeD1, *signers: ECKey, aggregator_id: str = "") -> AsyncIterator[Tokens]:
    """Fetch tokens for two issuers, or for their aggregator, from a D1, with assertions by these keys."""
    settings = UpstreamSettings(base_url=d1.url)
    keys = IssuerKeys(signers or [ASSERTION_KEY], KEYS[ISSUER].d1_encryption_keys, aggregator_id=aggregator_id)
    monotonic = SimpleNamespace(now=1000.0)
    async with aclosing(HttpExchange(D1, settings, None)) as http:
        source = TokenSource(
            {ISSUER: http, OTHER_ISSUER: http},
            {ISSUER: keys, OTHER_ISSUER: keys},
            settings,
            common=http,
            assertion_audience="https://api.d1.example",
            clock=lambda: 1_700_000_000.9,
            monotonic=lambda: monotonic.now,
        )
        async with aclosing(source):
            yield Tokens(source, monotonic)
