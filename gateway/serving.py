"""A process that serves: alone, or as one of several workers."""

import asyncio
import gc
import resource
import signal
from typing import Final

import structlog
import uvloop

from gateway import bootstrap, logs
from gateway.settings import Settings
from gateway.workers.place import Place

__all__ = ["serve"]

# Rarer collections than Python's own: requests make little that refers to itself. Worth 4 % of a notification.
_GC_THRESHOLD: Final = (10_000, 20, 50)

_log = structlog.get_logger(__name__)


def serve(settings: Settings, place: Place | None = None) -> None:
    """Run the gateway until SIGTERM or SIGINT, or until its supervisor is gone.

    Args:
        settings: All of them.
        place: Its place among the workers; None if it is alone.

    Raises:
        SettingsError: A key or certificate cannot be used, or the storage cannot be opened.
        OSError: A port cannot be had.
    """
    logs.configure(settings.log.level, None if place is None else place.number)
    # Every connection takes one, and the shell's usual 1024 are soon gone.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_serve(settings, place))


async def _serve(settings: Settings, place: Place | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if place is not None:
        place.when_alone(stopped.set)
    async with bootstrap.running(settings, place) as addresses:
        # What was made at the start lives to the end: the collector need not look at it again and again.
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLD)
        if place is None:
            _log.info("ready", grpc=addresses.grpc, edge=addresses.edge, admin=addresses.admin)
        else:
            _log.info("worker ready")
            place.tell_ready()
        await stopped.wait()
