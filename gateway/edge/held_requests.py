"""Requests that are held because their response may soon be a better one. The server's drain ends that."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiohttp import web

__all__ = ["HELD_REQUESTS", "HeldRequests", "while_held"]

_T = TypeVar("_T")


class HeldRequests:
    """The requests that the server holds now."""

    def __init__(self) -> None:
        self._holds: set[asyncio.Timeout] = set()
        self._are_released = False

    def release(self) -> None:
        """Release all, and hold none any more."""
        self._are_released = True
        now = asyncio.get_running_loop().time()
        for hold in self._holds:
            hold.reschedule(now)

    async def hold(self, work: Callable[[], Awaitable[_T]]) -> _T | None:
        """Do what a request is held for; return None on release."""
        try:
            async with asyncio.timeout(0.0 if self._are_released else None) as hold:
                self._holds.add(hold)
                try:
                    return await work()
                finally:
                    self._holds.discard(hold)
        except TimeoutError:
            if not hold.expired():
                raise
            return None


HELD_REQUESTS: Final = web.AppKey("HELD_REQUESTS", HeldRequests)
"""App key: the requests that the server holds."""


async def while_held(request: web.Request, work: Callable[[], Awaitable[_T]]) -> _T | None:
    """Do what a request is held for; cancel that and return None as soon as the server drains."""
    return await request.app[HELD_REQUESTS].hold(work)
