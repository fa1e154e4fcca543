"""Request ids over gRPC; each rpc at a whole gateway: ``tests/contract/test_contract_idempotency.py``."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from gateway import version
from gateway.auth import grant
from gateway.auth.caller import Caller
from gateway.auth.issuers import Issuers
from gateway.grpc_api.interceptors import (
    CorrelationInterceptor,
    DetachedCallInterceptor,
    ErrorInterceptor,
    IdempotencyInterceptor,
    IssuerInterceptor,
    RequestInterceptor,
    ValidationInterceptor,
)
from gateway.grpc_api.interceptors.chain import Chain, Interceptor, Rpc
from gateway.grpc_api.interceptors.shield import DetachedCalls
from gateway.grpc_api.services.cards import CardServicer
from gateway.logging.correlation import HEADER
from gateway.validation.validator import Validation
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from tests.fakes import ISSUER, FakeCardIssuer, FakeKeyValueStore
from tests.running import failure_of
from tests.unit.idempotency.idempotency_calls import instance

ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
SUSPEND = card.SuspendCardRequest(request_id=ID, card_id="card-1", reason_code="FRAUD")


class _Access(Interceptor):
    """Believes whatever a caller says of itself: who it is, and for which issuers it may act."""

    async def serve(self, rpc: Rpc) -> Any:
        said: dict[str, Any] = dict(rpc.metadata)
        if "caller" in said:
            issuers = frozenset(said["issuers"].split()) if "issuers" in said else None
            grant.use(grant.Grant(Caller(said["caller"], "certificate"), rpc.method.path, issuers))
        return await rpc.proceed()


@dataclass(frozen=True, slots=True)
class Served:
    issuer: FakeCardIssuer
    store: FakeKeyValueStore
    cards: "card_grpc.CardServiceAsyncStub"

    async def suspend(
        self, request: card.SuspendCardRequest = SUSPEND, /, **metadata: str
    ) -> tuple[card.SuspendCardResponse, dict[str, str | bytes]]:
        """Call, and return the reply with its trailing metadata."""
        call: Any = self.cards.SuspendCard(request, metadata=tuple(metadata.items()), timeout=10)
        reply = await call
        return reply, dict(await call.trailing_metadata())

    @property
    def calls(self) -> int:
        return len(self.issuer.asked)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    issuer, store, detached_calls = FakeCardIssuer(), FakeKeyValueStore(), DetachedCalls()
    chain = Chain(
        CorrelationInterceptor(),
        ErrorInterceptor(),
        _Access(),
        RequestInterceptor(),
        ValidationInterceptor(Validation()),
        IssuerInterceptor(Issuers([ISSUER])),
        DetachedCallInterceptor(detached_calls),
        IdempotencyInterceptor(instance(store)),
    )
    server = grpc.aio.server(handlers=(chain,))
    chain.add(CardServicer(issuer), card_grpc.add_CardServiceServicer_to_server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(issuer, store, card_grpc.CardServiceStub(channel))
    await server.stop(None)
    await detached_calls.drain(1)


def changed(**fields: Any) -> card.SuspendCardRequest:
    request = card.SuspendCardRequest()
    request.CopyFrom(SUSPEND)
    request.MergeFrom(card.SuspendCardRequest(**fields))
    return request


async def test_a_replayed_reply_says_so_and_bears_the_correlation_id_of_its_own_call(served: Served) -> None:
    reply, first = await served.suspend(**{HEADER: "first"})
    # The same id, written otherwise.
    again, second = await served.suspend(changed(request_id=ID.upper()), **{HEADER: "second"})
    assert again == reply == card.SuspendCardResponse()
    assert first == {HEADER: "first", version.HEADER: version.VERSION}
    assert second == first | {HEADER: "second", "x-idempotent-replay": "true"}
    assert served.calls == 1


async def test_without_a_request_id_every_call_is_made(served: Served) -> None:
    request = card.SuspendCardRequest(card_id="card-1", reason_code="FRAUD")
    for _ in range(2):
        assert "x-idempotent-replay" not in (await served.suspend(request))[1]
    assert served.calls == 2
    assert served.store._held == {}


async def test_an_id_belongs_to_its_caller(served: Served) -> None:
    for caller in ("dns:a.bank", "dns:b.bank"):
        assert "x-idempotent-replay" not in (await served.suspend(caller=caller))[1]
    assert "x-idempotent-replay" in (await served.suspend(caller="dns:a.bank"))[1]
    assert (await failure_of(served.suspend(changed(card_id="card-2"), caller="dns:b.bank"))).reason == (
        "REQUEST_ID_REUSED"
    )
    assert served.calls == 2


async def test_who_may_not_act_for_the_issuer_any_more_gets_no_reply_of_the_time_when_it_might(served: Served) -> None:
    await served.suspend(caller="dns:a.bank", issuers=ISSUER)
    failure = await failure_of(served.suspend(caller="dns:a.bank", issuers="ISSUER0002"))
    assert failure.reason == "PERMISSION_DENIED"
