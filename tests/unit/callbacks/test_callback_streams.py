"""What a handler's stream carries, and when: the broker's time is the test's, and the handler reads slowly.

Outcomes that another gateway has to decide hold up nothing, and are neither lost nor without bound.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from gateway.auth.issuers import Issuers
from gateway.callbacks.broker import Broker
from gateway.callbacks.model import CallbackRegistry, HandlerSession, OnOutcome
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.telemetry.metrics import Metrics
from gateway.validation.validator import Validation
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_clock import VirtualClock
from tests.unit.callbacks.broker_registry import ACCEPTED, LATE
from tests.unit.callbacks.broker_samples import ISSUER, RecordingHandler, a_reply, a_request

REGISTRATION = callback.HandleCallbacksRequest(
    registration=callback.HandlerRegistration(name="slow", callback_kinds=[callback.CALLBACK_KIND_DELIVER_OTP])
)
NO_MORE = None


class Line:
    """A stream, as the gateway has it. Of what is sent, each message holds up the next until it is read."""

    def __init__(self) -> None:
        self.sent: list[callback.HandleCallbacksResponse] = []
        self._said: asyncio.Queue[callback.HandleCallbacksRequest | None] = asyncio.Queue()
        self._read = asyncio.Semaphore(0)

    @property
    def received(self) -> list[tuple[str, int]]:
        """The callback requests, and the time left for each, in milliseconds."""
        requests = [message.callback_request for message in self.sent if message.HasField("callback_request")]
        return [(request.correlation_id, request.time_left.ToMilliseconds()) for request in requests]

    async def say(self, request: callback.HandleCallbacksRequest | None) -> None:
        self._said.put_nowait(request)
        await settle()

    async def read(self) -> None:
        self._read.release()
        await settle()

    async def requests(self) -> AsyncIterator[callback.HandleCallbacksRequest]:
        while (request := await self._said.get()) is not NO_MORE:
            yield request

    async def write(self, message: callback.HandleCallbacksResponse) -> None:
        self.sent.append(message)
        await self._read.acquire()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class SlowRegistry(Broker):
    """Decides outcomes when the test says so, and is idle until it drains."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.waiting: dict[str, OnOutcome] = {}
        self.is_busy = False

    @property
    def is_idle(self) -> bool:
        return not self.is_busy

    def take(self, session: HandlerSession, reply: callback.CallbackReply, on_outcome: OnOutcome) -> None:
        del session
        self.waiting[reply.token] = on_outcome

    def begin_drain(self) -> None:
        self.is_busy = True

    async def settle(self, token: str, outcome: "callback.ReplyOutcome.ValueType" = ACCEPTED) -> None:
        self.waiting.pop(token)(outcome)
        await settle()


class Reader(Line):
    """A handler that reads at once."""

    @property
    def acknowledgements(self) -> list[tuple[str, int]]:
        return [
            (message.acknowledgement.token, message.acknowledgement.outcome)
            for message in self.sent
            if message.HasField("acknowledgement")
        ]

    async def write(self, message: callback.HandleCallbacksResponse) -> None:
        self.sent.append(message)

    async def reply(self, token: str) -> None:
        await self.say(callback.HandleCallbacksRequest(callback_reply=a_reply(token)))


@asynccontextmanager
async def served(
    registry: CallbackRegistry, line: Line, registration: callback.HandleCallbacksRequest
) -> AsyncIterator[tuple[CallbackServicer, asyncio.Task[None]]]:
    """Serve a handler that registers."""
    servicer = CallbackServicer(Issuers([ISSUER]), registry, Validation(), Metrics())
    serving = asyncio.create_task(servicer.HandleCallbacks(line.requests(), cast("Any", line)))
    try:
        await line.say(registration)
        yield servicer, serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A broker, and a handler that has registered and has not read that it is."""

    clock: VirtualClock
    broker: Broker
    line: Line

    def begin(self, name: str, seconds: float = 8.0) -> None:
        self.broker.begin(a_request(correlation_id=name), seconds, lambda _: None)


@asynccontextmanager
async def an_exchange() -> AsyncIterator[tuple[Exchange, asyncio.Task[None]]]:
    clock, line = VirtualClock(), Line()
    exchange = Exchange(clock, Broker(clock), line)
    async with served(exchange.broker, line, REGISTRATION) as (_, serving):
        yield exchange, serving


@asynccontextmanager
async def registered(**fields: Any) -> AsyncIterator[tuple[SlowRegistry, Reader, asyncio.Task[None], CallbackServicer]]:
    registry, line = SlowRegistry(), Reader()
    registration = callback.HandleCallbacksRequest()
    registration.CopyFrom(REGISTRATION)
    registration.registration.MergeFrom(callback.HandlerRegistration(**fields))
    async with served(registry, line, registration) as (servicer, serving):
        yield registry, line, serving, servicer


async def test_the_time_left_is_that_when_the_callback_request_leaves() -> None:
    async with an_exchange() as (exchange, _):
        exchange.begin("1")
        exchange.begin("2")
        exchange.clock.run_for(3)
        await exchange.line.read()
        exchange.clock.run_for(0.5)
        await exchange.line.read()

        assert exchange.line.received == [("1", 5000), ("2", 4500)]


async def test_a_callback_whose_time_is_over_does_not_leave_though_its_end_is_still_to_come() -> None:
    async with an_exchange() as (exchange, _):
        exchange.begin("1", 2.0)
        exchange.begin("2", 8.0)
        exchange.clock.stall_until(exchange.clock.time() + 2)
        await exchange.line.read()

        assert exchange.line.received == [("2", 6000)]


@pytest.mark.parametrize("last_words", [NO_MORE, REGISTRATION])
async def test_a_handler_that_cannot_reply_any_more_gets_nothing_more(
    last_words: callback.HandleCallbacksRequest | None,
) -> None:
    async with an_exchange() as (exchange, serving):
        exchange.begin("1")
        await exchange.line.say(last_words)
        exchange.begin("2")
        other = RecordingHandler()
        exchange.broker.connect(other, [(ISSUER, "deliver_otp")], 9)
        assert [(each.correlation_id, each.attempt) for each in other.requests] == [("2", 1)]

        await exchange.line.read()
        await asyncio.wait({serving}, timeout=10)

        assert serving.done()
        assert exchange.line.received == []
        assert [(each.correlation_id, each.attempt) for each in other.requests] == [("2", 1), ("1", 1)]


async def test_a_reply_that_is_not_decided_holds_up_no_other() -> None:
    async with registered() as (registry, line, _, _):
        for token in "abc":
            await line.reply(token)

        await registry.settle("c")
        await registry.settle("a", LATE)

        assert line.acknowledgements == [("c", ACCEPTED), ("a", LATE)]


@pytest.mark.parametrize(
    ("mode", "acknowledgements"),
    [
        (callback.ACKNOWLEDGEMENT_MODE_UNSPECIFIED, [("b", ACCEPTED), ("a", ACCEPTED)]),
        (callback.ACKNOWLEDGEMENT_MODE_NOT_ACCEPTED, []),
    ],
    ids=["each is wanted", "those of accepted replies are not wanted"],
)
async def test_a_stream_whose_handler_has_no_more_to_say_ends_after_the_last_receipt(
    mode: "callback.AcknowledgementMode.ValueType", acknowledgements: list[tuple[str, int]]
) -> None:
    async with registered(acknowledgement_mode=mode) as (registry, line, serving, _):
        await line.reply("a")
        await line.reply("b")
        await line.say(NO_MORE)
        await registry.settle("b")
        assert not serving.done()

        await registry.settle("a")
        await asyncio.wait({serving}, timeout=10)

        assert serving.done()
        assert line.acknowledgements == acknowledgements


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

        registry.is_busy = False
        await asyncio.wait({serving}, timeout=10)

        assert serving.done()
        await closing
