"""`Broker.ask` on a real event loop."""

import asyncio
import gc
import weakref

import pytest

from gateway.callbacks.broker import Broker
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_samples import TOPICS, RecordingHandler, a_question, a_reply


async def a_broker() -> Broker:
    return Broker(asyncio.get_running_loop())


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_the_reply_that_counts_is_returned() -> None:
    broker = await a_broker()
    handler = RecordingHandler()
    session = broker.connect(handler, TOPICS, 1)
    asking = asyncio.create_task(broker.ask(a_question(), 30))
    await turns()
    reply = a_reply(handler.questions[0].token)

    broker.reply(session, reply)

    assert await asking is reply
    assert broker.size == (0, 4)


async def test_without_a_reply_none_is_returned_at_the_deadline_and_not_before() -> None:
    broker = await a_broker()
    handler = RecordingHandler()
    session = broker.connect(handler, TOPICS, 1)
    loop = asyncio.get_running_loop()
    begin = loop.time()

    assert await broker.ask(a_question(), 0.05) is None

    assert loop.time() - begin >= 0.049
    assert handler.withdrawn == [handler.questions[0].token]
    assert broker.reply(session, a_reply(handler.questions[0].token)) == callback.REPLY_OUTCOME_LATE


async def test_without_a_handler_to_wait_for_none_is_returned_at_once() -> None:
    broker = await a_broker()

    assert await asyncio.wait_for(broker.ask(a_question(), 3600, wait_for_handler=False), 5) is None


async def test_who_asks_may_be_cancelled_and_a_reply_is_told_that_nobody_waits() -> None:
    broker = await a_broker()
    handler = RecordingHandler()
    session = broker.connect(handler, TOPICS, 1)
    asking = asyncio.create_task(broker.ask(a_question(), 30))
    await turns()

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert broker.reply(session, a_reply(handler.questions[0].token)) == callback.REPLY_OUTCOME_ALREADY_ANSWERED
    assert broker.size == (0, 4)


async def test_what_waits_for_a_handler_is_forgotten_when_who_asks_is_cancelled() -> None:
    broker = await a_broker()
    asking = asyncio.create_task(broker.ask(a_question(), 30))
    await turns()
    assert broker.size != (0, 0)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert broker.size == (0, 0)


@pytest.mark.parametrize("reply_comes_first", [True, False])
async def test_a_reply_in_the_same_turn_as_the_cancellation_does_no_harm(*, reply_comes_first: bool) -> None:
    broker = await a_broker()
    handler = RecordingHandler()
    session = broker.connect(handler, TOPICS, 1)
    asking = asyncio.create_task(broker.ask(a_question(), 30))
    await turns()

    if not reply_comes_first:
        asking.cancel()
    outcome = broker.reply(session, a_reply(handler.questions[0].token))
    if reply_comes_first:
        asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert outcome == callback.REPLY_OUTCOME_ACCEPTED
    assert broker.size == (0, 4)


async def test_many_ask_at_once_and_each_gets_its_own_reply() -> None:
    broker = await a_broker()
    handlers = [RecordingHandler() for _ in range(4)]
    sessions = [broker.connect(handler, TOPICS, 3) for handler in handlers]
    asking = [asyncio.create_task(broker.ask(a_question(correlation_id=str(number)), 30)) for number in range(100)]
    replies: dict[str, callback.Reply] = {}

    for _ in range(100):
        await turns(1)
        for handler, session in zip(handlers, sessions, strict=True):
            assert len(handler.questions) <= 3
            unanswered, handler.questions = handler.questions, []
            for question in unanswered:
                replies[question.correlation_id] = a_reply(question.token)
                broker.reply(session, replies[question.correlation_id])

    assert [await each for each in asking] == [replies[str(number)] for number in range(100)]
    assert broker.size == (0, 16)


async def test_a_handler_that_is_gone_is_held_by_nothing() -> None:
    broker = await a_broker()
    handler = RecordingHandler()
    session = broker.connect(handler, TOPICS, 2)
    answered = asyncio.create_task(broker.ask(a_question(), 30))
    unanswered = asyncio.create_task(broker.ask(a_question(), 0.02))
    left = asyncio.create_task(broker.ask(a_question(), 30))
    await turns()
    broker.reply(session, a_reply(handler.questions[0].token))
    assert await answered is not None
    assert await unanswered is None
    broker.disconnect(session)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
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
