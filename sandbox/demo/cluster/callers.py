"""Clients that repeat what was UNAVAILABLE."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import grpc

from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1.service_pb2_grpc import OperationServiceStub
from sandbox.demo.shopper import CARD
from sandbox.demo.stage import CALL_SECONDS

__all__ = ["SteadyCallers", "until_available"]

_Answer = TypeVar("_Answer")

_PAUSE_SECONDS = 0.1
_CALLERS = 4


async def until_available(call: Callable[[], Awaitable[_Answer]]) -> tuple[_Answer, int]:
    """Make a call, and again while it ends with UNAVAILABLE; so only one that may be made twice.

    Returns:
        The answer, and how often the call was repeated.
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
    """Read a card's history again and again, a few at a time."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Use `calling`."""
        self.calls = 0
        """How many were answered."""
        self.repeats = 0
        """How many were made again."""
        self._stub = OperationServiceStub(channel)
        self._tasks = [asyncio.create_task(self._call()) for _ in range(_CALLERS)]

    @classmethod
    @asynccontextmanager
    async def calling(cls, channel: grpc.aio.Channel) -> AsyncIterator[Self]:
        """Call for as long as the block lasts."""
        callers = cls(channel)
        try:
            yield callers
        finally:
            for task in callers._tasks:
                task.cancel()
            await asyncio.gather(*callers._tasks, return_exceptions=True)

    async def answered(self, times: int) -> None:
        """Wait for as many further answers.

        Raises:
            grpc.aio.AioRpcError: A call has failed, and not with UNAVAILABLE.
        """
        wanted = self.calls + times
        while self.calls < wanted:
            for task in self._tasks:
                if task.done():
                    # It ends by itself only with an error.
                    task.result()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _call(self) -> None:
        request = history_pb2.ListOperationsRequest(card_id=CARD, page_size=1)
        while True:
            _, repeats = await until_available(lambda: self._stub.ListOperations(request, timeout=CALL_SECONDS))
            self.calls += 1
            self.repeats += repeats
