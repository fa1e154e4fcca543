"""D1 and the 3-D Secure server, each with a change that must not be made twice and a query that may be repeated."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from adapters.d1.api import D1CardIssuer, D1OperationHistory
from gateway.ports import Call
from gateway.ports.meter import UpstreamMeter
from sandbox.common.pki import Identity, Pki
from tests.integration.upstreams.fake_d1 import CREATE, CREATED, FakeD1, client_at
from tests.integration.upstreams.fake_threeds import ARES, CRD, PAN, an_areq, server_at
from tests.integration.upstreams.fake_upstream import FakeUpstream, Reply, reply

__all__ = ["UPSTREAMS", "Calls", "Upstream"]


class Calls(NamedTuple):
    """Two calls of one adapter."""

    change: Callable[[Call], Awaitable[object]]
    query: Callable[[Call], Awaitable[object]]


class _Connect(Protocol):
    def __call__(
        self, url: str, tls: ssl.SSLContext | None = None, meter: UpstreamMeter | None = None, **limits: Any
    ) -> AbstractAsyncContextManager[Calls]: ...


@dataclass(frozen=True, slots=True)
class Upstream:
    """One of the two."""

    name: str
    fake: type[FakeUpstream]
    connected: _Connect
    changed: Reply
    found: Reply
    certificate: Callable[[Pki], Identity]


@asynccontextmanager
async def _d1(
    url: str, tls: ssl.SSLContext | None = None, meter: UpstreamMeter | None = None, **limits: Any
) -> AsyncIterator[Calls]:
    async with client_at(url, tls, meter, **limits) as client:
        cards, history = D1CardIssuer(client), D1OperationHistory(client)
        yield Calls(
            lambda made: cards.create_card(CREATE, made), lambda made: history.list_operations("card-1", 0, 10, made)
        )


@asynccontextmanager
async def _threeds(
    url: str, tls: ssl.SSLContext | None = None, meter: UpstreamMeter | None = None, **limits: Any
) -> AsyncIterator[Calls]:
    async with server_at(url, tls, meter, **limits) as server:
        yield Calls(lambda made: server.authenticate(an_areq(), made), lambda made: server.lookup(PAN, "", made))


UPSTREAMS = [
    Upstream(
        "d1", FakeD1, _d1, CREATED, reply({"operations": [], "remainingOperations": 0}), lambda pki: pki.d1_server
    ),
    Upstream("threeds", FakeUpstream, _threeds, reply(ARES), reply(CRD), lambda pki: pki.threeds_server),
]
