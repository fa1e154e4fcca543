"""Work on many things, some of them at a time, with the results in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

__all__ = ["in_order"]

_T = TypeVar("_T")
_R = TypeVar("_R")


async def in_order(
    things: Iterable[_T], work: Callable[[_T], Awaitable[_R]], size: int
) -> AsyncGenerator[tuple[_T, _R], None]:
    """Yield each thing with the result of the work on it. Close it, so that what is begun is cancelled.

    Args:
        things: The things; they are taken as they are begun.
        work: The work on one of them. If it raises, the iteration does.
        size: The most that are begun and not yielded.
    """
    begun: deque[tuple[_T, asyncio.Task[_R]]] = deque()

    async def run(thing: _T) -> _R:
        return await work(thing)

    try:
        for thing in things:
            begun.append((thing, asyncio.create_task(run(thing))))
            if len(begun) >= size:
                first, task = begun[0]
                yield first, await task
                begun.popleft()
        while begun:
            first, task = begun[0]
            yield first, await task
            begun.popleft()
    finally:
        for _, task in begun:
            task.cancel()
        await asyncio.gather(*(task for _, task in begun), return_exceptions=True)
