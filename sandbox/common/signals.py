"""Signals to programs that start other processes."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

__all__ = ["run"]

_Result = TypeVar("_Result")

_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(program: Coroutine[Any, Any, _Result]) -> _Result | signal.Signals:
    """Run a program until its end; cancel it at the first signal, so that it leaves nothing behind.

    Later signals do not disturb it: a cancelled cleanup would leave processes running. A signal that was ignored before
    stays ignored, as `nohup` and background jobs of a shell expect.

    Returns:
        The program's result, or the signal that ended it.
    """
    received: list[signal.Signals] = []

    async def until_signal() -> _Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def end(number: signal.Signals) -> None:
            if not received and task is not None:
                task.cancel()
            received.append(number)

        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, end, number)
        return await program

    try:
        result = asyncio.run(until_signal())
    except asyncio.CancelledError:
        if not received:
            raise
        return received[0]
    return received[0] if received else result
