"""The serving process."""

import asyncio
import gc
import resource
import signal
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

from gateway import bootstrap
from gateway.aio import service_manager
from gateway.aio.signals import release
from gateway.bootstrap import logging as logs
from gateway.logging.interpreter import log_instead_of_printing
from gateway.settings import Settings
from gateway.version import COMMIT, VERSION

__all__ = ["serve"]

# Less frequent collections than Python's default, as requests create few reference cycles. Saves 4 % per notification.
_GC_THRESHOLD: Final = (10_000, 20, 50)
# Of files and other upstreams; a guess.
_OTHER_DESCRIPTORS: Final = 256

_log = structlog.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Run the gateway until SIGTERM, SIGINT or SIGHUP.

    Raises:
        SettingsError: A key or certificate cannot be used, or the storage cannot be opened.
        OSError: A port is not available.
    """
    # Imported modules live to the end; the garbage collector can skip them.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
    gc.enable()
    logs.configure(settings.log.level)
    log_instead_of_printing()
    _raise_descriptor_limit(settings)
    uvloop.run(_serve(settings))


def _raise_descriptor_limit(settings: Settings) -> None:
    # Every connection takes a file descriptor, and the usual limit is 1024.
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    edge = settings.edge.max_connections + 2 * settings.edge.max_handshakes
    needed = edge + settings.grpc.max_connections + settings.d1.max_connections + _OTHER_DESCRIPTORS
    if hard_limit != resource.RLIM_INFINITY and hard_limit < needed:
        _log.warning("descriptor_limit_found_low", limit=hard_limit, needed=needed)


async def _serve(settings: Settings) -> None:
    ready, stopped = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(_run(settings, ready, stopped))

    def stop() -> None:
        if not ready.is_set() and not stopped.is_set():
            # Nothing is served yet, and what the start waits for may never come.
            running.cancel()
        stopped.set()

    _handle_signals(stop)
    await asyncio.wait((running,))
    if running.cancelled():
        _log.info("gateway_start_cancelled")
    else:
        running.result()


def _handle_signals(stop: Callable[[], None]) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT]
    # `nohup` ignores SIGHUP; keep it so.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    release(*numbers)


async def _run(settings: Settings, ready: asyncio.Event, stopped: asyncio.Event) -> None:
    async with service_manager.watched(), bootstrap.running(settings) as addresses:
        # So do the objects created at the start.
        gc.freeze()
        _log.info(
            "gateway_started",
            grpc=addresses.grpc,
            edge=addresses.edge,
            admin=addresses.admin,
            version=VERSION,
            commit=COMMIT,
        )
        ready.set()
        service_manager.notify(service_manager.READY)
        await stopped.wait()
        service_manager.notify(service_manager.STOPPING)
