"""Two forms of `gateway.ports.CallbackBus`: a broker alone, and two gateways of which one has the handlers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from gateway.bootstrap.nats import joined
from gateway.callbacks.broker import Broker, HandlerSession, Topic
from gateway.callbacks.model import CallbackRegistry
from issuer.callback.v1 import messages_pb2 as callback
from tests.conformance.lease_engines import until
from tests.conformance.storage_engines import StorageEngine
from tests.unit.callbacks.broker_samples import TOPICS


class Connected:
    """A handler, the requests that it gets, and the outcomes of its replies."""

    def __init__(self, registry: CallbackRegistry, max_in_flight: int, topics: Sequence[Topic]) -> None:
        self.requests: list[callback.CallbackRequest] = []
        self.withdrawn: list[str] = []
        self.outcomes: list[int] = []
        self._registry = registry
        self.session: HandlerSession = registry.connect(self, topics, max_in_flight)

    def send(self, request: callback.CallbackRequest) -> None:
        assert self._registry.refresh(request)
        self.requests.append(callback.CallbackRequest.FromString(request.SerializeToString()))

    def withdraw(self, token: str) -> bool:
        self.withdrawn.append(token)
        return False

    @property
    def correlation_ids(self) -> list[str]:
        return [request.correlation_id for request in self.requests]

    async def next(self, count: int = 1) -> callback.CallbackRequest:
        """Wait until it has got ``count`` requests. Returns the last one."""
        await until(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def reply(self, reply: callback.CallbackReply) -> int:
        count = len(self.outcomes)
        self._registry.take(self.session, reply, self.outcomes.append)
        await until(lambda: len(self.outcomes) > count)
        return self.outcomes[-1]


@dataclass(slots=True)
class Bus:
    asking: Broker
    answering: CallbackRegistry
    _sessions: int = field(default=0)

    async def connect(self, max_in_flight: int = 16, topics: Sequence[Topic] = TOPICS) -> Connected:
        """Connect a handler, and wait until it can get callbacks."""
        connected = Connected(self.answering, max_in_flight, topics)
        self._sessions += len(topics)
        await until(lambda: self.asking.size[1] == self._sessions)
        return connected

    async def drain(self, connected: Connected) -> None:
        """Drain a handler, and wait until that is known."""
        self.answering.drain(connected.session)
        await self._is_known()

    async def disconnect(self, connected: Connected) -> None:
        """Disconnect a handler, and wait until that is known."""
        self.answering.disconnect(connected.session)
        self._sessions -= len(connected.session.topics)
        await until(lambda: self.asking.size[1] == self._sessions)

    async def _is_known(self) -> None:
        # One message has the state of all handlers: once a new one is known, so is the state of the others.
        await self.disconnect(await self.connect(topics=[("ISSUER0009", "deliver_otp")]))

    async def settled(self) -> None:
        await until(lambda: self.asking.size[0] == 0 and self.answering.is_idle)


@asynccontextmanager
async def alone() -> AsyncIterator[Bus]:
    broker = Broker(asyncio.get_running_loop())
    yield Bus(broker, broker)


@asynccontextmanager
async def over_two_gateways(engine: StorageEngine) -> AsyncIterator[Bus]:
    """Run two gateways: one gets the callbacks, the other one has the handlers."""
    async with AsyncExitStack() as stack:
        members = []
        for _ in range(2):
            storage = await stack.enter_async_context(engine.opened())
            members.append(await stack.enter_async_context(joined(storage)))
        (asking, _), (_, answering) = members
        yield Bus(asking, answering)
