"""Requests that are late or do not come."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from gateway.auth import grant
from gateway.auth.caller import Caller
from gateway.grpc_api.interceptors import CorrelationInterceptor, ErrorInterceptor, RequestInterceptor
from gateway.grpc_api.interceptors.chain import Chain, Interceptor, Rpc
from gateway.grpc_api.services.cards import CardServicer
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from tests.fakes import FakeCardIssuer
from tests.running import Error, failure_of

_MISSING = Error(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT")
_TOO_MANY = Error(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS", "NOT_SENT", 1.0)
_DRAINING = Error(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING", "NOT_SENT", 0.0)


class _Grants(Interceptor):
    """Takes a caller's word for who it is."""

    async def serve(self, rpc: Rpc) -> Any:
        for _, value in (entry for entry in rpc.metadata if entry[0] == "caller"):
            grant.use(grant.Grant(Caller(str(value), "token"), rpc.method.path, None))
        return await rpc.proceed()


@asynccontextmanager
async def _calls(interceptor: RequestInterceptor) -> AsyncIterator[Any]:
    """Serve cards; yields a function that begins a call without its request."""
    chain = Chain(CorrelationInterceptor(), ErrorInterceptor(), _Grants(), interceptor)
    server = grpc.aio.server(handlers=(chain,))
    chain.add(CardServicer(FakeCardIssuer()), card_grpc.add_CardServiceServicer_to_server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        # A unary call of gRPC's library always has its request.
        yield channel.stream_unary("/issuer.card.v1.CardService/ResumeCard")
    await server.stop(None)


async def test_a_request_that_does_not_come_is_refused() -> None:
    async with _calls(RequestInterceptor(seconds=0.2)) as call:
        failure = await failure_of(call(timeout=20))
    assert (failure.error, failure.violations) == (_MISSING, {"": "request.missing"})
    assert failure.message.endswith("within 0.2 s")


async def test_a_call_that_is_closed_without_its_request_is_refused_at_once() -> None:
    async with _calls(RequestInterceptor()) as call:
        closed = call(timeout=5)
        await closed.done_writing()
        failure = await failure_of(closed)
    assert (failure.error, failure.violations) == (_MISSING, {"": "request.missing"})


async def test_where_many_requests_of_a_caller_are_late_a_further_one_has_less_time() -> None:
    async with _calls(RequestInterceptor(seconds=30.0, many=2)) as call:
        first = [call(timeout=30, metadata=(("caller", "one"),)) for _ in range(2)]
        # The others have begun by then.
        await asyncio.sleep(0.1)
        of_another = [call(timeout=30, metadata=(("caller", "two"),)), call(timeout=30)]
        failure = await failure_of(call(timeout=20, metadata=(("caller", "one"),)))
        assert failure.error == _TOO_MANY
        assert failure.message.endswith("within 1 s")
        assert not any(each.done() for each in [*first, *of_another])


async def test_a_request_that_is_there_after_a_pause_of_the_process_is_not_late() -> None:
    async with _calls(RequestInterceptor(seconds=0.2)) as call:
        paused = call(timeout=20)
        await asyncio.sleep(0.1)
        writing = asyncio.create_task(paused.write(card.ResumeCardRequest().SerializeToString()))
        await asyncio.sleep(0)
        time.sleep(1)  # noqa: ASYNC251 (the pause)
        await writing
        await paused.done_writing()
        assert await paused == b""


async def test_a_drain_does_not_wait_for_late_requests() -> None:
    interceptor = RequestInterceptor()
    async with _calls(interceptor) as call:
        before = call(timeout=5)
        await asyncio.sleep(0.1)
        interceptor.drain()
        failures = await asyncio.gather(failure_of(before), failure_of(call(timeout=5)))
    assert [each.error for each in failures] == [_DRAINING, _DRAINING]
