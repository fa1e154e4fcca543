"""`Broker.ask` on a real event loop, beside ``tests/conformance/test_callback_bus.py``: who asks may be cancelled."""

import asyncio
import gc
import weakref

import pytest

from gateway.callbacks.broker import Broker
from gateway.ports import CallbackOutcome, NoReply
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, Connected
from tests.unit.callbacks.broker_samples import TOPICS, RecordingHandler, a_reply, a_request


@pytest.fixture
async def broker() -> Broker:
    return Broker(asyncio.get_running_loop())


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def asking(broker: Broker) -> "asyncio.Task[callback.CallbackReply | NoReply]":
    """Ask, and let that take effect."""
    task = asyncio.create_task(broker.ask(a_request(), 30))
    await settle()
    return task


async def cancel(task: "asyncio.Task[callback.CallbackReply | NoReply]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_asks_may_be_cancelled_and_a_reply_is_told_that_nobody_waits(broker: Broker) -> None:
    handler = Connected(broker, TOPICS, 1)

    await cancel(await asking(broker))

    assert handler.reply() == ALREADY_ANSWERED
    assert broker.size == (0, 4)


async def test_what_waits_for_a_handler_is_forgotten_when_who_asks_is_cancelled(broker: Broker) -> None:
    task = await asking(broker)
    assert broker.size != (0, 0)

    await cancel(task)

    assert broker.size == (0, 0)


@pytest.mark.parametrize("reply_comes_first", [True, False])
async def test_a_reply_in_the_same_turn_as_the_cancellation_does_no_harm(
    broker: Broker, *, reply_comes_first: bool
) -> None:
    handler = Connected(broker, TOPICS, 1)
    task = await asking(broker)

    if not reply_comes_first:
        task.cancel()
    assert handler.reply() == ACCEPTED
    await cancel(task)

    assert broker.size == (0, 4)


async def test_a_handler_that_is_gone_is_held_by_nothing(broker: Broker) -> None:
    handler = RecordingHandler()
    session = broker.connect(handler, TOPICS, 2)
    answered = await asking(broker)
    unanswered = asyncio.create_task(broker.ask(a_request(), 0.02))
    left = await asking(broker)
    broker.reply(session, a_reply(handler.requests[0].token), session.topics)
    assert isinstance(await answered, callback.CallbackReply)
    assert await unanswered == CallbackOutcome.FALLBACK
    broker.disconnect(session)
    await cancel(left)
    remains = weakref.ref(handler)
    # A cancelled task has a traceback, and with it everything that was at hand.
    del left
    await settle()

    gc.disable()
    try:
        del handler, session
        assert remains() is None
    finally:
        gc.enable()
