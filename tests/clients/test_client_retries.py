"""The client's retries, against a stand-in that fails on demand."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

from d1_gateway_client import AsyncGatewayClient, GatewayClient, errors
from d1_gateway_client._retries import Backoff, pause_seconds
from d1_gateway_client.contracts.issuer.card.v1 import (
    CreateCardRequest,
    CreateCardResponse,
    RegisterCardRequest,
)
from d1_gateway_client.contracts.issuer.notification.v1 import (
    GetSubscriptionRequest,
    GetSubscriptionResponse,
    Subscription,
)
from gateway.errors import GatewayError
from gateway.grpc_api.server import SERVICES
from issuer.common.v1 import error_pb2
from sandbox.common.pki import Pki
from tests.clients.client_gateways import CORRELATION_ID, Scripted, options_for, scripted
from tests.clients.client_links import Link

CREATE = CreateCardRequest(consumer_id="consumer-1", card_product_id="full")
REGISTER = RegisterCardRequest(card_id="card-1")


def error(
    reason: "error_pb2.ErrorReason.ValueType",
    outcome: "error_pb2.ErrorOutcome.ValueType",
    retry_seconds: float | None = None,
) -> GatewayError:
    return GatewayError(reason, "from the stand-in", outcome=outcome, retry_after_seconds=retry_seconds)


UNREACHABLE = error(error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE, error_pb2.ERROR_OUTCOME_NOT_SENT, 0.05)
OVERLOADED = error(error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, error_pb2.ERROR_OUTCOME_UNKNOWN)
IN_FLIGHT = error(error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT, error_pb2.ERROR_OUTCOME_NOT_SENT, 0.3)
NO_ANSWER = error(error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE, error_pb2.ERROR_OUTCOME_UNKNOWN)


async def call(stand_in: Scripted, method: str, request: Any, *, blocking: bool, **changes: Any) -> Any:
    """Make a call of CardService with either client."""
    options = options_for(stand_in.address, stand_in.pki, **changes)
    if not blocking:
        async with AsyncGatewayClient(options) as made:
            return await getattr(made.cards, method)(request)

    def called() -> Any:
        with GatewayClient(options) as made:
            return getattr(made.cards, method)(request)

    return await asyncio.to_thread(called)


@pytest.fixture(params=[False, True], ids=["asyncio", "threads"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def stand_in(pki: Pki) -> AsyncIterator[Scripted]:
    async with scripted(pki) as started:
        yield started


async def never(context: Any) -> bytes:
    del context
    await asyncio.sleep(60)
    return b""


@pytest.mark.parametrize(
    ("method", "message", "answer"),
    [("create_card", CREATE, UNREACHABLE), ("register_card", REGISTER, OVERLOADED)],
    ids=["a change that was not sent", "an idempotent call that may have happened"],
)
async def test_what_may_be_repeated_is_so_under_one_request_id(
    stand_in: Scripted, method: str, message: Any, answer: GatewayError, *, blocking: bool
) -> None:
    stand_in.answers += [answer, answer]
    await call(stand_in, method, message, blocking=blocking)
    (request_id,) = {request.request_id for request in stand_in.requests(type(message))}
    assert len(stand_in.calls) == 3
    assert uuid.UUID(request_id).version == 4


async def test_a_change_that_may_have_happened_is_not_repeated(stand_in: Scripted, *, blocking: bool) -> None:
    stand_in.answers.append(OVERLOADED)
    with pytest.raises(errors.UnavailableError, match="UPSTREAM_UNAVAILABLE, outcome UNKNOWN") as caught:
        await call(stand_in, "create_card", CREATE, blocking=blocking)
    (sent,) = stand_in.requests(CreateCardRequest)
    assert (caught.value.outcome, caught.value.request_id) == (errors.ErrorOutcome.UNKNOWN, sent.request_id)
    assert caught.value.correlation_id == CORRELATION_ID


async def test_only_unavailable_is_repeated(stand_in: Scripted, *, blocking: bool) -> None:
    stand_in.answers.append(NO_ANSWER)
    with pytest.raises(errors.GatewayError) as caught:
        await call(stand_in, "register_card", REGISTER, blocking=blocking)
    assert caught.value.reason is errors.ErrorReason.UPSTREAM_NO_RESPONSE
    assert len(stand_in.calls) == 1


async def test_a_request_in_flight_is_retried_after_the_pause_with_what_is_left_of_the_deadline(
    stand_in: Scripted, *, blocking: bool
) -> None:
    stand_in.answers.append(IN_FLIGHT)
    began = time.monotonic()
    # gRPC sends longer deadlines in whole seconds.
    await call(stand_in, "create_card", CREATE, blocking=blocking, deadline_seconds=9)
    assert time.monotonic() - began >= 0.3
    first, second = (each.seconds_left for each in stand_in.calls)
    assert 0 < second < first - 0.25
    assert first <= 9


async def test_a_pause_that_outlasts_the_deadline_is_left_to_the_caller(stand_in: Scripted, *, blocking: bool) -> None:
    stand_in.answers.append(
        error(error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT, error_pb2.ERROR_OUTCOME_NOT_SENT, retry_seconds=14.5)
    )
    began = time.monotonic()
    with pytest.raises(errors.GatewayError) as caught:
        await call(stand_in, "create_card", CREATE, blocking=blocking, deadline_seconds=9)
    assert time.monotonic() - began < 5
    assert caught.value.retry_after_seconds == 14.5
    assert caught.value.request_id is not None
    assert len(stand_in.calls) == 1


async def test_attempts_are_limited(stand_in: Scripted, *, blocking: bool) -> None:
    stand_in.answers += [UNREACHABLE for _ in range(9)]
    with pytest.raises(errors.UnavailableError):
        await call(stand_in, "create_card", CREATE, blocking=blocking, max_attempts=3)
    assert len(stand_in.calls) == 3


async def test_a_call_without_a_response_ends_at_its_deadline(stand_in: Scripted, *, blocking: bool) -> None:
    stand_in.answers.append(never)
    with pytest.raises(errors.DeadlineExceededError) as caught:
        await call(stand_in, "create_card", CREATE, blocking=blocking, deadline_seconds=1)
    assert caught.value.outcome is errors.ErrorOutcome.UNKNOWN


async def test_a_call_waits_for_a_gateway_that_is_starting_and_is_then_made_once(pki: Pki, *, blocking: bool) -> None:
    async with scripted(pki) as gone:
        port = int(gone.address.rpartition(":")[2])
    calling = asyncio.create_task(call(gone, "create_card", CREATE, blocking=blocking, deadline_seconds=20))
    await asyncio.sleep(0.5)
    assert not calling.done()
    async with scripted(pki, port) as stand_in:
        await calling
    assert len(stand_in.calls) == 1


async def test_a_client_finds_its_gateway_again(pki: Pki) -> None:
    async with scripted(pki) as first:
        address = first.address
        blocking, made = GatewayClient(options_for(address, pki)), AsyncGatewayClient(options_for(address, pki))
        await asyncio.to_thread(blocking.cards.create_card, CREATE)
        await made.cards.create_card(CREATE)
    await asyncio.sleep(0.3)
    async with scripted(pki, int(address.rpartition(":")[2])) as second:
        await asyncio.to_thread(blocking.cards.create_card, CREATE)
        await made.cards.create_card(CREATE)
        await asyncio.to_thread(blocking.close)
        await made.aclose()
    assert (len(first.calls), len(second.calls)) == (2, 2)


async def test_calls_go_to_every_gateway_of_a_name_and_to_the_others_when_one_leaves(pki: Pki) -> None:
    async with scripted(pki) as stays:
        async with scripted(pki) as leaves:
            both = f"ipv4:{stays.address},{leaves.address}"
            made = AsyncGatewayClient(options_for(both, pki, server_name="localhost"))
            async with asyncio.timeout(20):
                while not (stays.calls and leaves.calls):
                    await made.cards.create_card(CREATE)
        before = len(stays.calls)
        for _ in range(4):
            await made.cards.create_card(CREATE)
        await made.aclose()
        assert len(stays.calls) == before + 4


async def test_a_change_that_was_cut_off_is_not_repeated(stand_in: Scripted, *, blocking: bool) -> None:
    async with Link.to(stand_in.address) as link:

        async def cut_off(context: Any) -> bytes:
            link.cut()
            return await never(context)

        stand_in.answers.append(cut_off)
        stand_in.address = link.address
        with pytest.raises(errors.UnavailableError) as caught:
            await call(stand_in, "create_card", CREATE, blocking=blocking)
    assert caught.value.outcome is errors.ErrorOutcome.UNKNOWN
    assert len(stand_in.calls) == 1


async def test_a_call_in_flight_is_finished_by_a_gateway_that_shuts_down(pki: Pki, *, blocking: bool) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()

    async def slow(context: Any) -> bytes:
        del context
        began.set()
        await may_end.wait()
        return bytes(CreateCardResponse(card_id="card-1"))

    async with scripted(pki, grace_seconds=20) as stand_in:
        stand_in.answers.append(slow)
        calling = asyncio.create_task(call(stand_in, "create_card", CREATE, blocking=blocking))
        await began.wait()
        # The server sends GOAWAY at the end of the block, before this response.
        asyncio.get_running_loop().call_later(0.5, may_end.set)
    assert (await calling).card_id == "card-1"


async def test_without_a_gateway_nothing_is_known_to_have_been_sent(pki: Pki, *, blocking: bool) -> None:
    async with scripted(pki) as gone:
        pass
    with pytest.raises(errors.UnavailableError, match="No connection to") as caught:
        await call(gone, "create_card", CREATE, blocking=blocking, deadline_seconds=0.5)
    assert caught.value.outcome is errors.ErrorOutcome.NOT_SENT
    assert caught.value.request_id


async def test_a_token_is_shown_and_read_anew_for_each_call(stand_in: Scripted, *, blocking: bool) -> None:
    tokens = iter(["first", "second"])
    stand_in.answers.append(UNREACHABLE)
    await call(stand_in, "create_card", CREATE, blocking=blocking, token=lambda: next(tokens))
    assert [each.metadata["authorization"] for each in stand_in.calls] == ["Bearer first", "Bearer second"]


async def test_a_cancelled_call_is_cancelled_at_the_gateway(stand_in: Scripted) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def begin(context: Any) -> bytes:
        context.add_done_callback(lambda _: cancelled.set())
        began.set()
        return await never(context)

    stand_in.answers.append(begin)
    calling = asyncio.create_task(call(stand_in, "create_card", CREATE, blocking=False))
    await began.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    async with asyncio.timeout(10):
        await cancelled.wait()


async def test_a_response_is_read_within_its_own_deadline(stand_in: Scripted) -> None:
    async def answer(context: Any) -> bytes:
        del context
        return bytes(GetSubscriptionResponse(subscription=Subscription(name="fraud", lag=7)))

    stand_in.answers.append(answer)
    async with AsyncGatewayClient(options_for(stand_in.address, stand_in.pki)) as made:
        found = await made.within(3).notifications.get_subscription(GetSubscriptionRequest(subscription="fraud"))
    assert found.subscription == Subscription(name="fraud", lag=7)
    assert stand_in.calls[0].seconds_left <= 3


def test_the_client_retries_exactly_what_the_contracts_declare_idempotent() -> None:
    pool = descriptor_pool.Default()
    declared = {
        f"/{name}/{method.name}"
        for name in SERVICES
        for method in pool.FindServiceByName(name).methods
        if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    }
    overloaded = errors.GatewayError(errors.Facts(grpc.StatusCode.UNAVAILABLE, ""))
    every = {f"/{name}/{method.name}" for name in SERVICES for method in pool.FindServiceByName(name).methods}
    assert {route for route in every if pause_seconds(overloaded, route, Backoff()) is not None} == declared


def test_pauses_grow_up_to_a_limit_and_differ() -> None:
    backoff = Backoff()
    pauses = [backoff.seconds() for _ in range(50)]
    assert 0.05 <= pauses[0] <= 0.1
    assert all(2.5 <= pause <= 5 for pause in pauses[10:])
    assert len(set(pauses)) == 50
    assert backoff.seconds(at_least=7) == 7
    backoff.reset()
    assert backoff.seconds() <= 0.1


REGISTERING = "/issuer.card.v1.CardService/RegisterCard"
CREATING = "/issuer.card.v1.CardService/CreateCard"


@pytest.mark.parametrize(
    ("route", "reason", "times"),
    [
        (REGISTERING, errors.ErrorReason.UNSPECIFIED, 1),
        (REGISTERING, errors.ErrorReason.SERVER_DRAINING, 0),
        (CREATING, errors.ErrorReason.UNSPECIFIED, 0),
    ],
    ids=["harmless", "cancelled by the gateway itself", "a change that may have been made"],
)
def test_a_call_that_grpc_cancels_as_its_gateway_shuts_down_is_repeated_where_that_is_harmless(
    route: str, reason: errors.ErrorReason, times: int
) -> None:
    facts = errors.Facts(grpc.StatusCode.CANCELLED, "", errors.ErrorDetail(reason=reason))

    pauses = [pause_seconds(errors.GatewayError(facts), route, Backoff())]
    assert len([pause for pause in pauses if pause is not None]) == times
