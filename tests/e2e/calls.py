"""Cards registered as an internal service does, once or continuously."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1 import card_data_pb2

__all__ = ["Calls", "register"]

_WORKERS = 4
_PAUSE_SECONDS = 0.01
_LIMIT_SECONDS = 20.0


async def register(
    channel: grpc.aio.Channel, card_id: str, *, consumer_id: str = "consumer_1", pan: str = "4970101234567890"
) -> None:
    """Register a card at D1."""
    expiry = card_data_pb2.CardExpiry(month=12, year=2031)
    credentials = card_data_pb2.CardCredentials(pan=pan, expiry=expiry)
    request = card.RegisterCardRequest(
        card_id=card_id, consumer_id=consumer_id, card_product_id="light", credentials=credentials
    )
    await CardServiceStub(channel).RegisterCard(request, timeout=10)


class Calls:
    """Services that register cards continuously, each call with a token for D1 and card data encrypted for D1."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.failures: list[str] = []
        """The errors of failed calls."""
        self._channel = channel
        self._numbers = itertools.count()
        self._ended = [0] * _WORKERS
        """The number of completed calls of each service."""

    @classmethod
    @asynccontextmanager
    async def running(cls, channel: grpc.aio.Channel) -> AsyncIterator["Calls"]:
        """Make calls through a channel for the duration of the block."""
        calls = cls(channel)
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for worker in range(_WORKERS):
                group.create_task(calls._work(worker, stopping))
            try:
                yield calls
            finally:
                stopping.set()

    async def go_on(self) -> None:
        """Wait until every service has completed a call that started after this moment."""
        # The first call to complete may have started before. Several counters have no common event.
        awaited = [ended + 2 for ended in self._ended]
        async with asyncio.timeout(_LIMIT_SECONDS):
            while any(ended < least for ended, least in zip(self._ended, awaited, strict=True)):  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE_SECONDS)

    async def move(self, channel: grpc.aio.Channel) -> None:
        """Switch to another channel; return when the former one has no more calls."""
        self._channel = channel
        await self.go_on()

    async def _work(self, worker: int, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            number = next(self._numbers)
            try:
                await register(self._channel, f"card_{number}", pan=f"4970{number:012}")
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")
            self._ended[worker] += 1
            await asyncio.sleep(_PAUSE_SECONDS)
