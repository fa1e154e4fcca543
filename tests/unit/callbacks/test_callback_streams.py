"""What a handler's stream carries, and when: the broker's time is the test's, and the handler reads slowly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from gateway.auth.issuers import Issuers
from gateway.callbacks.broker import Broker
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.validation.validator import Validation
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_clock import VirtualClock
from tests.unit.callbacks.broker_samples import ISSUER, RecordingHandler, a_question

REGISTRATION = callback.HandleCallbacksRequest(
    registration=callback.Registration(name="slow", kinds=[callback.CALLBACK_KIND_DELIVER_OTP])
)
NO_MORE = None


class Line:
    """A stream, as the gateway has it. Of what is sent, each message holds up the next until it is read."""

    def __init__(self) -> None:
        self.sent: list[callback.HandleCallbacksResponse] = []
        self._said: asyncio.Queue[callback.HandleCallbacksRequest | None] = asyncio.Queue()
        self._read = asyncio.Semaphore(0)

    @property
    def asked(self) -> list[tuple[str, int]]:
        """What was asked, and how many milliseconds there were said to be for it."""
        questions = [message.question for message in self.sent if message.HasField("question")]
        return [(question.correlation_id, question.time_left.ToMilliseconds()) for question in questions]

    async def say(self, request: callback.HandleCallbacksRequest | None) -> None:
        self._said.put_nowait(request)
        await settle()

    async def read(self) -> None:
        self._read.release()
        await settle()

    async def requests(self) -> AsyncIterator[callback.HandleCallbacksRequest | None]:
        while (request := await self._said.get()) is not NO_MORE:
            yield request

    async def write(self, message: callback.HandleCallbacksResponse) -> None:
        self.sent.append(message)
        await self._read.acquire()


class Exchange:
    """A broker, and a handler that has registered and has not read that it is."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = Broker(self.clock)
        self.line = Line()

    def ask(self, name: str, seconds: float = 8.0) -> None:
        self.broker.begin(a_question(correlation_id=name), seconds, lambda _: None)

    def serve(self) -> asyncio.Task[None]:
        servicer = CallbackServicer(Issuers([ISSUER]), self.broker, Validation())
        return asyncio.create_task(servicer.HandleCallbacks(self.line.requests(), cast("Any", self.line)))


@asynccontextmanager
async def an_exchange() -> AsyncIterator[tuple[Exchange, asyncio.Task[None]]]:
    exchange = Exchange()
    serving = exchange.serve()
    try:
        await exchange.line.say(REGISTRATION)
        yield exchange, serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_handler_is_told_how_long_there_is_when_the_callback_leaves() -> None:
    async with an_exchange() as (exchange, _):
        exchange.ask("1")
        exchange.ask("2")
        exchange.clock.run_for(3)
        await exchange.line.read()
        exchange.clock.run_for(0.5)
        await exchange.line.read()

        assert exchange.line.asked == [("1", 5000), ("2", 4500)]


async def test_a_callback_whose_time_is_over_does_not_leave_though_its_end_is_still_to_come() -> None:
    async with an_exchange() as (exchange, _):
        exchange.ask("1", 2.0)
        exchange.ask("2", 8.0)
        exchange.clock.stall_until(exchange.clock.time() + 2)
        await exchange.line.read()

        assert exchange.line.asked == [("2", 6000)]


@pytest.mark.parametrize("last_words", [NO_MORE, REGISTRATION])
async def test_a_handler_that_cannot_reply_any_more_is_asked_nothing_more(
    last_words: callback.HandleCallbacksRequest | None,
) -> None:
    async with an_exchange() as (exchange, serving):
        exchange.ask("1")
        await exchange.line.say(last_words)
        exchange.ask("2")
        other = RecordingHandler()
        exchange.broker.connect(other, [(ISSUER, "deliver_otp")], 9)
        assert [(each.correlation_id, each.attempt) for each in other.questions] == [("2", 1)]

        await exchange.line.read()
        await asyncio.wait({serving}, timeout=10)

        assert serving.done()
        assert exchange.line.asked == []
        assert [(each.correlation_id, each.attempt) for each in other.questions] == [("2", 1), ("1", 2)]
