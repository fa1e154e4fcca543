"""Both ways from a question to a handler: a broker alone, and two gateways, one that is asked and one with handlers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from gateway.bootstrap.nats import joined
from gateway.callbacks.broker import Broker, HandlerSession, Topic
from gateway.callbacks.model import CallbackRegistry
from issuer.callback.v1 import messages_pb2 as callback
from tests.conformance.storage_engines import StorageEngine
from tests.unit.callbacks.broker_samples import TOPICS

__all__ = ["Bus", "Connected", "alone", "over_two_gateways"]

_SECONDS = 20.0


class Connected:
    """A handler, what it is asked, and what it is told became of its replies."""

    def __init__(self, registry: CallbackRegistry, max_in_flight: int, topics: Sequence[Topic]) -> None:
        self.questions: list[callback.Question] = []
        self.withdrawn: list[str] = []
        self.told: list[int] = []
        self._registry = registry
        self.session: HandlerSession = registry.connect(self, topics, max_in_flight)

    def send(self, question: callback.Question) -> None:
        assert self._registry.refresh(question)
        self.questions.append(question)

    def withdraw(self, token: str) -> None:
        self.withdrawn.append(token)

    @property
    def asked(self) -> list[str]:
        return [question.correlation_id for question in self.questions]

    async def next(self, count: int = 1) -> callback.Question:
        """Wait until it has been asked so often; returns the last question."""
        await until(lambda: len(self.questions) >= count)
        return self.questions[count - 1]

    async def reply(self, reply: callback.Reply) -> int:
        """Reply, and wait to be told what became of it."""
        count = len(self.told)
        self._registry.take(self.session, reply, self.told.append)
        await until(lambda: len(self.told) > count)
        return self.told[-1]


@dataclass(slots=True)
class Bus:
    """A way from who asks to handlers."""

    asking: Broker
    answering: CallbackRegistry
    _sessions: int = field(default=0)

    async def connect(self, max_in_flight: int = 16, topics: Sequence[Topic] = TOPICS) -> Connected:
        """Have a handler, and wait until it can be asked."""
        connected = Connected(self.answering, max_in_flight, topics)
        self._sessions += len(topics)
        await until(lambda: self.asking.size[1] == self._sessions)
        return connected

    async def drain(self, connected: Connected) -> None:
        """Have a handler drain, and wait until that is known."""
        self.answering.drain(connected.session)
        await self._is_heard()

    async def disconnect(self, connected: Connected) -> None:
        """Have a handler leave, and wait until that is known."""
        self.answering.disconnect(connected.session)
        self._sessions -= len(connected.session.topics)
        await until(lambda: self.asking.size[1] == self._sessions)

    async def _is_heard(self) -> None:
        # What is said of one handler is said of all: once a new one is known, so is the other one's state.
        await self.disconnect(await self.connect(topics=[("ISSUER0009", "deliver_otp")]))

    async def settled(self) -> None:
        """Wait until no question is kept anywhere."""
        await until(lambda: self.asking.size[0] == 0 and self.answering.is_idle)


@asynccontextmanager
async def alone() -> AsyncIterator[Bus]:
    """Have a broker that has no peers."""
    broker = Broker(asyncio.get_running_loop())
    yield Bus(broker, broker)


@asynccontextmanager
async def over_two_gateways(engine: StorageEngine) -> AsyncIterator[Bus]:
    """Have two gateways: one is asked, the other one has the handlers."""
    async with AsyncExitStack() as stack:
        members = []
        for _ in range(2):
            storage = await stack.enter_async_context(engine.opened())
            members.append(await stack.enter_async_context(joined(storage)))
        (asking, _), (_, answering) = members
        yield Bus(asking, answering)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something has become true."""
    async with asyncio.timeout(_SECONDS):
        while not condition():  # noqa: ASYNC110  what happens at another gateway sets no event for tests
            await asyncio.sleep(0.005)
