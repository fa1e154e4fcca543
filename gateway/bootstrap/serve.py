"""A process that serves: alone, or as one of several workers."""

import asyncio
import gc
import resource
import signal
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

from gateway import bootstrap
from gateway.aio.signals import release
from gateway.bootstrap import logging as logs
from gateway.settings import Settings
from gateway.workers.place import Place

__all__ = ["serve"]

# Rarer collections than Python's own: requests make little that refers to itself. Worth 4 % of a notification.
_GC_THRESHOLD: Final = (10_000, 20, 50)

_log = structlog.get_logger(__name__)


def serve(settings: Settings, place: Place | None = None) -> None:
    """Run the gateway until SIGTERM or SIGINT; alone, until SIGHUP as well; as a worker, until its supervisor is gone.

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
    ready, stopped = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(_run(settings, place, ready, stopped))

    def stop() -> None:
        if not ready.is_set() and not stopped.is_set():
            # Nobody is served yet, and what it waits for may take long to come.
            running.cancel()
        stopped.set()

    _take_signals(stop, is_alone=place is None)
    if place is not None:
        place.when_alone(stop)
    await asyncio.wait((running,))
    if running.cancelled():
        _log.info("gateway_start_cancelled")
    else:
        running.result()


def _take_signals(stop: Callable[[], None], *, is_alone: bool) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT]
    # Of a worker it is held, for it means the supervisor. Whoever says `nohup` wants it ignored.
    if is_alone and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    release(*numbers)


async def _run(settings: Settings, place: Place | None, ready: asyncio.Event, stopped: asyncio.Event) -> None:
    async with bootstrap.running(settings, place) as addresses:
        # What was made at the start lives to the end: the collector need not look at it again and again.
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLD)
        if place is None:
            _log.info("gateway_started", grpc=addresses.grpc, edge=addresses.edge, admin=addresses.admin)
        else:
            _log.info("worker_started")
            place.tell_ready()
        ready.set()
        await stopped.wait()
