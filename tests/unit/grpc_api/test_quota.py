"""How much one caller may have in flight."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.auth import grant
from gateway.auth.caller import Caller
from gateway.errors import GatewayError
from gateway.grpc_api.endless import EndlessStreams
from gateway.grpc_api.health import Health
from gateway.grpc_api.interceptors import CorrelationInterceptor, ErrorInterceptor, QuotaInterceptor, RequestInterceptor
from gateway.grpc_api.interceptors.chain import Chain, Context, Interceptor, Rpc
from gateway.grpc_api.services.cards import CardServicer
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import service_pb2_grpc as callback_grpc
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.common.v1 import error_pb2
from tests.fakes import FakeCardIssuer
from tests.running import failure_of


class _Grants(Interceptor):
    """Takes a caller's word for who it is."""

    async def serve(self, rpc: Rpc) -> Any:
        named = [str(value) for key, value in rpc.metadata if key == "caller"]
        if named:
            grant.use(grant.Grant(Caller(named[0], "token"), rpc.method.path, None))
        return await rpc.proceed()


class _Cards(CardServicer):
    def __init__(self) -> None:
        super().__init__(FakeCardIssuer())
        self.goes_on = asyncio.Event()
        self.running = 0

    async def ResumeCard(self, request: card.ResumeCardRequest, context: Context) -> card.ResumeCardResponse:  # noqa: N802
        del context
        self.running += 1
        await self.goes_on.wait()
        if request.card_id == "broken":
            raise GatewayError(error_pb2.ERROR_REASON_INTERNAL, "broken")
        return card.ResumeCardResponse()


class _Callbacks(callback_grpc.CallbackServiceServicer):
    async def HandleCallbacks(  # type: ignore[override] # noqa: N802 (it writes to the context)
        self, requests: AsyncIterator[callback.HandleCallbacksRequest], context: Context
    ) -> None:
        await context.write(callback.HandleCallbacksResponse(registered=callback.HandlerRegistered()))
        async for _ in requests:
            pass


class Served:
    """A server that lets each caller have two calls and one stream, and the stubs of callers."""

    def __init__(self, address: str, channel: grpc.aio.Channel, cards: _Cards, quota: QuotaInterceptor) -> None:
        self._address = address
        self.cards = cards
        self.quota = quota
        self._cards: card_grpc.CardServiceAsyncStub = card_grpc.CardServiceStub(channel)
        self._callbacks: callback_grpc.CallbackServiceAsyncStub = callback_grpc.CallbackServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    def resume(self, caller: str | None = None, card_id: str = "card-1") -> Any:
        metadata = () if caller is None else (("caller", caller),)
        return self._cards.ResumeCard(card.ResumeCardRequest(card_id=card_id), metadata=metadata, timeout=20)

    async def stream(self, caller: str) -> Any:
        """Open a stream, and wait until it serves or has failed."""
        call = self._callbacks.HandleCallbacks(metadata=(("caller", caller),), timeout=20)
        with suppress(grpc.aio.AioRpcError):
            await call.read()
        return call

    @asynccontextmanager
    async def busy(self, caller: str | None = None) -> AsyncIterator[None]:
        """Let a caller have as many calls in flight as it may, which then succeed."""
        calls = [self.resume(caller) for _ in range(2)]
        await self.in_flight(2)
        yield
        self.cards.goes_on.set()
        await asyncio.gather(*calls)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Open another connection, for probes."""
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(self._address, options=options) as channel:
            yield health_pb2_grpc.HealthStub(channel)

    async def in_flight(self, count: int) -> None:
        """Wait until so many calls have begun."""
        async with asyncio.timeout(10):
            while self.cards.running < count:  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.01)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    quota, cards = QuotaInterceptor(max_calls=2, max_streams=1), _Cards()
    chain = Chain(CorrelationInterceptor(), ErrorInterceptor(), _Grants(), quota, RequestInterceptor())
    server = grpc.aio.server(handlers=(chain,))
    chain.add(cards, card_grpc.add_CardServiceServicer_to_server)
    chain.add(_Callbacks(), callback_grpc.add_CallbackServiceServicer_to_server)
    chain.add(Health(EndlessStreams()), health_pb2_grpc.add_HealthServicer_to_server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(f"127.0.0.1:{port}", channel, cards, quota)
    await server.stop(None)


async def test_a_call_too_many_is_refused_and_one_after_the_others_is_not(served: Served) -> None:
    async with served.busy("jwt:one"):
        failure = await failure_of(served.resume("jwt:one"))
    assert failure.error == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS", "NOT_SENT", 1.0)
    await served.resume("jwt:one")


async def test_one_caller_does_not_pay_for_another(served: Served) -> None:
    async with served.busy("jwt:one"):
        other = served.resume("jwt:two")
        await served.in_flight(3)
    await other


async def test_where_nobody_tells_who_calls_the_address_counts(served: Served) -> None:
    async with served.busy():
        assert (await failure_of(served.resume())).reason == "TOO_MANY_REQUESTS"


async def test_a_call_that_failed_or_was_given_up_counts_no_more(served: Served) -> None:
    for number in range(3):
        given_up = served.resume("jwt:one")
        await served.in_flight(number + 1)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
    async with asyncio.timeout(10):
        while served.quota._calls:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)
    served.cards.goes_on.set()
    for _ in range(3):
        assert (await failure_of(served.resume("jwt:one", "broken"))).reason == "INTERNAL"
    assert not served.quota._calls


async def test_streams_are_counted_apart(served: Served) -> None:
    stream = await served.stream("jwt:one")
    second = await served.stream("jwt:one")
    assert await second.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    other = await served.stream("jwt:two")
    async with served.busy("jwt:one"):
        pass
    for call in (stream, other):
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.OK
    assert not served.quota._streams


async def test_probes_of_a_busy_caller_are_answered(served: Served) -> None:
    async with served.busy():
        answer = await served.health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_connection_has_no_more_than_eight_probes_at_a_time(served: Served) -> None:
    watches = [served.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(8)]
    for each in watches:
        await each.read()
    failure = await failure_of(served.health.Check(health_pb2.HealthCheckRequest()))
    assert failure.error == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS", "NOT_SENT", 1.0)
    async with served.busy():
        pass
    async with served.connection() as other:
        await other.Check(health_pb2.HealthCheckRequest())
    for each in watches:
        each.cancel()
