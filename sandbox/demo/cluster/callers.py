"""Clients that retry calls that end with UNAVAILABLE."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import grpc

from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1.service_pb2_grpc import ThreeDSOperationServiceStub
from sandbox.demo.shopper import CARD
from sandbox.demo.stage import CALL_SECONDS

__all__ = ["SteadyCallers", "until_available"]

_Answer = TypeVar("_Answer")

_PAUSE_SECONDS = 0.1
_CALLERS = 4


async def until_available(call: Callable[[], Awaitable[_Answer]]) -> tuple[_Answer, int]:
    """Make a call, and retry it while it ends with UNAVAILABLE; for idempotent calls only.

    Returns:
        The response, and the number of retries.
    """
    repeats = 0
    while True:
        try:
            return await call(), repeats
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        repeats += 1
        await asyncio.sleep(_PAUSE_SECONDS)


class SteadyCallers:
    """Read a card's history continuously, a few calls at a time."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Use `calling`."""
        self.calls = 0
        """The number of successful calls."""
        self.repeats = 0
        """The number of retries."""
        self._stub = ThreeDSOperationServiceStub(channel)
        self._tasks = [asyncio.create_task(self._call()) for _ in range(_CALLERS)]

    @classmethod
    @asynccontextmanager
    async def calling(cls, channel: grpc.aio.Channel) -> AsyncIterator[Self]:
        """Make calls for the duration of the block."""
        callers = cls(channel)
        try:
            yield callers
        finally:
            for task in callers._tasks:
                task.cancel()
            await asyncio.gather(*callers._tasks, return_exceptions=True)

    async def succeeded(self, times: int) -> None:
        """Wait for that many further successful calls.

        Raises:
            grpc.aio.AioRpcError: A call failed with another status than UNAVAILABLE.
        """
        wanted = self.calls + times
        while self.calls < wanted:
            for task in self._tasks:
                if task.done():
                    # The task ends by itself only with an error.
                    task.result()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _call(self) -> None:
        request = history_pb2.ListThreeDSOperationsRequest(card_id=CARD, page_size=1)
        while True:
            _, repeats = await until_available(lambda: self._stub.ListThreeDSOperations(request, timeout=CALL_SECONDS))
            self.calls += 1
            self.repeats += repeats
