"""Receipts that another gateway has to say first: they hold up nothing, and are neither lost nor without bound."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

from gateway.auth.issuers import Issuers
from gateway.callbacks.model import Handler, HandlerSession, OnOutcome, Topic
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.validation.validator import Validation
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_samples import ISSUER, a_reply
from tests.unit.callbacks.test_callback_streams import NO_MORE, Line, settle

ACCEPTED = callback.REPLY_OUTCOME_ACCEPTED


class SlowDesk:
    """Learns what became of replies when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[str, OnOutcome] = {}
        self.is_idle = True

    def connect(self, handler: Handler, topics: Iterable[Topic], max_in_flight: int) -> HandlerSession:
        return HandlerSession(handler, frozenset(topics), max_in_flight)

    def drain(self, session: HandlerSession) -> None:
        session.is_draining = True

    def disconnect(self, session: HandlerSession) -> None:
        session.is_draining = True

    def take(self, session: HandlerSession, reply: callback.Reply, tell: OnOutcome) -> None:
        del session
        self.waiting[reply.token] = tell

    def refresh(self, message: callback.Question) -> bool:
        return bool(message.token)

    def begin_drain(self) -> None:
        self.is_idle = False

    async def settle(self, token: str, outcome: "callback.ReplyOutcome.ValueType" = ACCEPTED) -> None:
        self.waiting.pop(token)(outcome)
        await settle()


class Reader(Line):
    """A handler that reads at once."""

    @property
    def receipts(self) -> list[tuple[str, int]]:
        return [
            (message.receipt.token, message.receipt.outcome) for message in self.sent if message.HasField("receipt")
        ]

    async def write(self, message: callback.HandleCallbacksResponse) -> None:
        self.sent.append(message)

    async def reply(self, token: str) -> None:
        await self.say(callback.HandleCallbacksRequest(reply=a_reply(token)))


@asynccontextmanager
async def registered(**fields: Any) -> AsyncIterator[tuple[SlowDesk, Reader, asyncio.Task[None], CallbackServicer]]:
    registry, line = SlowDesk(), Reader()
    servicer = CallbackServicer(Issuers([ISSUER]), registry, Validation())
    serving = asyncio.create_task(servicer.HandleCallbacks(line.requests(), cast("Any", line)))
    registration = callback.Registration(name="one", kinds=[callback.CALLBACK_KIND_DELIVER_OTP], **fields)
    try:
        await line.say(callback.HandleCallbacksRequest(registration=registration))
        yield registry, line, serving, servicer
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_a_reply_that_is_not_decided_holds_up_no_other() -> None:
    async with registered() as (registry, line, _, _):
        for token in "abc":
            await line.reply(token)

        await registry.settle("c")
        await registry.settle("a", callback.REPLY_OUTCOME_LATE)

        assert line.receipts == [("c", ACCEPTED), ("a", callback.REPLY_OUTCOME_LATE)]


async def test_a_stream_whose_handler_has_no_more_to_say_ends_after_the_last_receipt() -> None:
    async with registered() as (registry, line, serving, _):
        await line.reply("a")
        await line.reply("b")
        await line.say(NO_MORE)
        await registry.settle("b")
        assert not serving.done()

        await registry.settle("a")
        await asyncio.wait({serving}, timeout=10)

        assert serving.done()
        assert line.receipts == [("b", ACCEPTED), ("a", ACCEPTED)]


async def test_a_stream_ends_though_its_last_receipt_is_one_that_its_handler_does_not_want() -> None:
    async with registered(receipts=callback.RECEIPT_MODE_NOT_ACCEPTED) as (registry, line, serving, _):
        await line.reply("a")
        await line.say(NO_MORE)

        await registry.settle("a")
        await asyncio.wait({serving}, timeout=10)

        assert serving.done()
        assert line.receipts == []


async def test_no_more_replies_are_taken_than_are_decided() -> None:
    async with registered(max_in_flight=2) as (registry, line, _, _):
        for number in range(20):
            await line.reply(str(number))
        taken = len(registry.waiting)
        assert taken < 20

        await registry.settle("0")

        assert len(registry.waiting) == taken
        assert str(taken) in registry.waiting


async def test_streams_end_once_no_gateway_waits_for_a_reply() -> None:
    async with registered() as (registry, _, serving, servicer):
        servicer.drain()
        closing = asyncio.create_task(servicer.close())
        await settle()
        assert not closing.done()

        registry.is_idle = True
        await asyncio.wait({serving}, timeout=10)

        assert serving.done()
        await closing
