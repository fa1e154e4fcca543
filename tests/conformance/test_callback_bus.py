"""The contract of `gateway.ports.CallbackBus`, with handlers at this gateway or at another one."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from gateway.ports import Attempts, CallbackOutcome, NoReply
from issuer.callback.v1 import messages_pb2 as callback
from tests.conformance.callback_buses import Bus, Connected, alone, over_two_gateways
from tests.conformance.lease_engines import until
from tests.unit.callbacks.broker_samples import TOPICS, a_refusal, a_reply, a_request

ACCEPTED = callback.REPLY_OUTCOME_ACCEPTED
LATE = callback.REPLY_OUTCOME_LATE
ALREADY_ANSWERED = callback.REPLY_OUTCOME_ALREADY_ANSWERED
UNKNOWN_TOKEN = callback.REPLY_OUTCOME_UNKNOWN_TOKEN
INVALID = callback.REPLY_OUTCOME_INVALID
# Above what a busy machine takes for anything here, and below what a test may take.
LONG = 40.0


@pytest.fixture(params=["alone", "over two gateways"])
def way(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Bus]:
    if request.param == "alone":
        return alone()
    return over_two_gateways(request.getfixturevalue("shared_engine"))


@pytest.fixture
async def bus(way: AbstractAsyncContextManager[Bus]) -> AsyncIterator[Bus]:
    async with way as bus:
        yield bus


@pytest.fixture
async def handler(bus: Bus) -> Connected:
    return await bus.connect()


def sent(
    bus: Bus,
    name: str = "q",
    seconds: float = LONG,
    *,
    attempts: Attempts = Attempts(if_slow=2),
    wait_for_handler: bool = True,
) -> "asyncio.Task[callback.CallbackReply | NoReply]":
    """Send a callback request."""
    request = a_request(correlation_id=name)
    asking = bus.asking.ask(request, seconds, attempts=attempts, wait_for_handler=wait_for_handler)
    return asyncio.create_task(asking)


@pytest.mark.parametrize("reply_to", [a_reply, a_refusal])
@pytest.mark.parametrize("send", [sent, partial(sent, wait_for_handler=False)], ids=["waiting", "not waiting"])
async def test_the_reply_that_counts_is_returned_and_its_handler_learns_so(
    bus: Bus,
    handler: Connected,
    reply_to: Callable[[str], callback.CallbackReply],
    send: "Callable[[Bus], asyncio.Task[callback.CallbackReply | NoReply]]",
) -> None:
    request = send(bus)
    reply = reply_to((await handler.next()).token)

    assert await handler.reply(reply) == ACCEPTED

    assert await request == reply
    await bus.settled()


async def test_a_callback_request_arrives_unchanged_with_all_that_a_handler_needs(bus: Bus, handler: Connected) -> None:
    request = sent(bus, "c-1", 8.0)

    received = await handler.next()

    assert (received.issuer_id, received.correlation_id, received.attempt) == (TOPICS[0][0], "c-1", 1)
    assert received.deliver_otp == a_request().deliver_otp
    assert 0 < received.time_left.ToMilliseconds() <= 8000
    assert 0 < received.deadline.ToMilliseconds() / 1000 - time.time() <= 8.0
    assert 0 < len(received.token) <= 128
    request.cancel()


async def test_without_a_reply_a_callback_is_withdrawn_at_its_deadline(bus: Bus, handler: Connected) -> None:
    began = time.monotonic()

    assert await bus.asking.ask(a_request(), 0.5) == CallbackOutcome.FALLBACK

    assert time.monotonic() - began >= 0.499
    await bus.settled()
    # Over two gateways both have the deadline, and each of them may be first.
    assert set(handler.withdrawn) == {handler.requests[0].token}
    assert await handler.reply(a_reply(handler.requests[0].token)) == LATE


async def test_without_a_handler_anywhere_what_does_not_wait_for_one_is_over_at_once(bus: Bus) -> None:
    await bus.connect(topics=TOPICS[1:])

    async with asyncio.timeout(LONG / 2):
        assert await sent(bus, wait_for_handler=False) == CallbackOutcome.NO_HANDLER


async def test_a_callback_waits_for_a_handler_to_connect(bus: Bus) -> None:
    request = sent(bus)
    await asyncio.sleep(0.05)

    handler = await bus.connect()

    assert await handler.reply(a_reply((await handler.next()).token)) == ACCEPTED
    assert isinstance(await request, callback.CallbackReply)


async def test_the_first_reply_of_the_right_kind_counts_and_a_second_one_is_reported_as_such(
    bus: Bus, handler: Connected
) -> None:
    request = sent(bus)
    token = (await handler.next()).token

    replies = (a_reply(token, "authenticate"), a_reply(token), a_reply(token))
    assert [await handler.reply(each) for each in replies] == [INVALID, ACCEPTED, ALREADY_ANSWERED]
    assert await request == a_reply(token)


@pytest.mark.parametrize("token", ["never", "0" * 48, "0" * 64])
async def test_a_reply_without_a_callback_is_unknown(handler: Connected, token: str) -> None:
    assert await handler.reply(a_reply(token)) == UNKNOWN_TOKEN


async def test_a_reply_is_late_when_nobody_waits(bus: Bus, handler: Connected) -> None:
    request = sent(bus)
    token = (await handler.next()).token
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)

    assert await handler.reply(a_reply(token)) == ALREADY_ANSWERED
    await bus.settled()


async def test_a_handler_has_no_more_callbacks_than_it_takes_and_gets_the_next_when_it_replies(bus: Bus) -> None:
    handler = await bus.connect(max_in_flight=2)
    requests = [sent(bus, str(number)) for number in range(5)]

    for count in range(1, 6):
        request = await handler.next(count)
        await asyncio.sleep(0.02)
        assert len(handler.requests) <= count + 1
        assert await handler.reply(a_reply(request.token)) == ACCEPTED

    assert handler.correlation_ids == ["0", "1", "2", "3", "4"]
    assert all(await asyncio.gather(*requests))


async def test_what_a_handler_leaves_undone_goes_to_another(bus: Bus) -> None:
    first, second = await bus.connect(), await bus.connect()
    request = sent(bus)
    await asyncio.wait({asyncio.ensure_future(each.next()) for each in (first, second)}, return_when="FIRST_COMPLETED")
    gone, left = (first, second) if first.requests else (second, first)

    await bus.disconnect(gone)

    again = await left.next()
    assert (again.token, again.attempt) == (gone.requests[0].token, 2)
    assert await left.reply(a_reply(again.token)) == ACCEPTED
    assert isinstance(await request, callback.CallbackReply)


async def test_no_more_handlers_get_a_callback_than_may(bus: Bus) -> None:
    handlers = [await bus.connect() for _ in range(5)]
    request = sent(bus, attempts=Attempts(most=3), wait_for_handler=False)

    living = [*handlers]
    while not request.done():
        await until(lambda: request.done() or any(handler.requests for handler in living))
        for handler in [handler for handler in living if handler.requests]:
            living.remove(handler)
            await bus.disconnect(handler)

    assert await request == CallbackOutcome.EXHAUSTED
    assert sorted(handler.requests[0].attempt for handler in handlers if handler.requests) == [1, 2, 3]


async def test_who_takes_too_long_is_not_waited_for_and_the_first_reply_counts(bus: Bus) -> None:
    first, second = await bus.connect(), await bus.connect()
    request = sent(bus, seconds=4.0)
    await asyncio.gather(first.next(), second.next())
    slow, quick = (first, second) if first.requests[0].attempt == 1 else (second, first)
    reply = a_reply(quick.requests[0].token)

    assert await quick.reply(reply) == ACCEPTED
    assert await slow.reply(a_reply(reply.token)) == ALREADY_ANSWERED
    assert await request == reply


async def test_a_handler_that_drains_gets_no_more_callbacks_and_its_replies_count(bus: Bus) -> None:
    draining, other = await bus.connect(), None
    request = sent(bus, "1")
    token = (await draining.next()).token
    await bus.drain(draining)
    second = sent(bus, "2")
    other = await bus.connect()

    assert (await other.next()).correlation_id == "2"
    assert await draining.reply(a_reply(token)) == ACCEPTED
    assert await other.reply(a_reply(other.requests[0].token)) == ACCEPTED
    assert draining.correlation_ids == ["1"]
    assert all(await asyncio.gather(request, second))


async def test_of_many_callback_requests_at_once_each_gets_its_own_reply(bus: Bus) -> None:
    handlers = [await bus.connect(max_in_flight=8) for _ in range(3)]
    requests = [sent(bus, str(number)) for number in range(150)]

    async def answer(place: int) -> None:
        for count in range(1, 151):
            request = await handlers[place].next(count)
            reply = a_refusal(request.token)
            reply.refusal.message = request.correlation_id
            assert await handlers[place].reply(reply) == ACCEPTED

    answering = [asyncio.create_task(answer(place)) for place in range(3)]
    replies = await asyncio.gather(*requests)
    for task in answering:
        task.cancel()
    await asyncio.gather(*answering, return_exceptions=True)

    assert [reply.refusal.message for reply in replies if isinstance(reply, callback.CallbackReply)] == [
        str(number) for number in range(150)
    ]
    assert sum(len(handler.requests) for handler in handlers) == 150
    await bus.settled()
