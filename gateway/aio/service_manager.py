"""Reports the life of the process to systemd, if that started it: the protocol of ``sd_notify(3)``."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.aio.clock import every

__all__ = ["READY", "STOPPING", "notify", "watched"]

READY = "READY=1"
"""The process serves."""
STOPPING = "STOPPING=1"
"""The process drains."""

_ALIVE = "WATCHDOG=1"


def notify(state: str) -> None:
    """Report a state to the service manager. Does nothing without one.

    Raises:
        OSError: The service manager cannot be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # An @ stands for the abstract namespace.
    target = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), target)
    except OSError as error:
        raise OSError(f"cannot report to the service manager at {address} (NOTIFY_SOCKET): {error.strerror}") from error


@asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Report that the event loop turns, twice as often as the service manager demands (``WatchdogSec=``).

    Does nothing in a process that inherits the demand on another one (``sd_watchdog_enabled(3)``).
    """
    async with AsyncExitStack() as stack:
        is_ours = os.environ.get("WATCHDOG_PID") in {None, "", str(os.getpid())}
        if is_ours and (microseconds := os.environ.get("WATCHDOG_USEC")):
            await stack.enter_async_context(every(int(microseconds) / 2e6, _report_life))
        yield


async def _report_life() -> None:
    notify(_ALIVE)
