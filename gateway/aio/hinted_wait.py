"""Waits for a value that somebody else stores, woken by hints that may be early, missing or wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

__all__ = ["wait_until_found"]

_T = TypeVar("_T")

_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 1.0


async def wait_until_found(find: Callable[[], Awaitable[_T | None]], hint: asyncio.Event, seconds: float) -> _T | None:
    """Look for a value at once, after each hint and at the end.

    A hint may come before the value can be found, so it is looked for soon again, in growing intervals. A hint may get
    lost, so it is looked for once a second without one.

    Args:
        find: Returns the value; None if there is none yet.
        hint: Set by others when the value may be there; cleared here.
        seconds: How long to wait.

    Returns:
        The value; None if there is none in the end.
    """
    clock = asyncio.get_running_loop().time
    deadline, pause = clock() + seconds, _LONGEST_PAUSE_SECONDS
    while (found := await find()) is None and (left := deadline - clock()) > 0:
        try:
            async with asyncio.timeout(min(left, pause)):
                await hint.wait()
        except TimeoutError:
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            hint.clear()
            pause = _FIRST_PAUSE_SECONDS
    return found
