"""`Broker.ask` on a real event loop."""

import asyncio
import gc
import weakref

import pytest

from gateway.callbacks.broker import Broker
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, LATE, Connected
from tests.unit.callbacks.broker_samples import TOPICS, RecordingHandler, a_question, a_reply


@pytest.fixture
async def broker() -> Broker:
    return Broker(asyncio.get_running_loop())


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def asking(broker: Broker) -> "asyncio.Task[callback.Reply | None]":
    """Ask, and let that take effect."""
    task = asyncio.create_task(broker.ask(a_question(), 30))
    await turns()
    return task


async def cancel(task: "asyncio.Task[callback.Reply | None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_reply_none_is_returned_at_the_deadline_and_not_before(broker: Broker) -> None:
    handler = Connected(broker, TOPICS, 1)
    loop = asyncio.get_running_loop()
    begin = loop.time()

    assert await broker.ask(a_question(), 0.05) is None

    assert loop.time() - begin >= 0.049
    assert handler.withdrawn == [handler.token()]
    assert handler.reply() == LATE


async def test_without_a_handler_to_wait_for_none_is_returned_at_once(broker: Broker) -> None:
    assert await asyncio.wait_for(broker.ask(a_question(), 3600, wait_for_handler=False), 5) is None


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


async def test_many_ask_at_once_and_each_gets_its_own_reply(broker: Broker) -> None:
    handlers = [Connected(broker, TOPICS, 3) for _ in range(4)]
    tasks = [asyncio.create_task(broker.ask(a_question(correlation_id=str(number)), 30)) for number in range(100)]
    replies: dict[str, callback.Reply] = {}

    for _ in range(100):
        await turns(1)
        for handler in handlers:
            assert len(handler.questions) <= 3
            unanswered, handler.questions = handler.questions, []
            for question in unanswered:
                replies[question.correlation_id] = a_reply(question.token)
                handler.say(replies[question.correlation_id])

    ends = await asyncio.gather(*tasks)
    assert all(end is replies[str(number)] for number, end in enumerate(ends))
    assert broker.size == (0, 16)


async def test_a_handler_that_is_gone_is_held_by_nothing(broker: Broker) -> None:
    handler = RecordingHandler()
    session = broker.connect(handler, TOPICS, 2)
    answered = await asking(broker)
    unanswered = asyncio.create_task(broker.ask(a_question(), 0.02))
    left = await asking(broker)
    broker.reply(session, a_reply(handler.questions[0].token))
    assert await answered is not None
    assert await unanswered is None
    broker.disconnect(session)
    await cancel(left)
    remains = weakref.ref(handler)
    # A cancelled task has a traceback, and with it everything that was at hand.
    del left
    await turns()

    gc.disable()
    try:
        del handler, session
        assert remains() is None
    finally:
        gc.enable()
