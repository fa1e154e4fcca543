"""The parent of the workers: keeps them alive, renews them on SIGHUP, ends them on SIGTERM."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from gateway.aio.addresses import join
from gateway.aio.signals import TAKEN, release
from gateway.settings import AdminSettings, Settings, SettingsError
from gateway.telemetry.admin_server import AdminServer
from gateway.workers.crew import Crew
from gateway.workers.launching import Launcher
from gateway.workers.slot import StartError

__all__ = ["Supervisor"]

_MARGIN_SECONDS: Final = 5.0
"""What a worker may take to end beyond the grace of the calls in flight."""

_log = structlog.get_logger(__name__)


class Supervisor:
    """Runs several workers as one gateway."""

    def __init__(self, workers: int, settings: Settings, load: Callable[[], Settings], probe_seconds: float) -> None:
        """Prepare.

        Args:
            workers: How many.
            settings: Those that hold now.
            load: Reads them again, before a rolling restart.
            probe_seconds: How often workers are asked for a sign of life; see `gateway.workers.pulse`.
        """
        self._workers = workers
        self._settings = settings
        self._load = load
        self._probe_seconds = probe_seconds
        self._grace_seconds = settings.drain_grace_seconds
        self._stopped = asyncio.Event()
        self._renewal = asyncio.Event()

    async def run(self, launcher: Launcher) -> int:
        """Start the workers, and keep them until SIGTERM or SIGINT.

        Args:
            launcher: Starts them.

        Returns:
            The exit status: that of a worker which did not become ready at the start, or 0.

        Raises:
            OSError: The admin port cannot be had, or the system gives no process.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self._renewal.set)
        release(*TAKEN)
        crew = Crew(self._workers, launcher, self._probe_seconds)
        async with _admin(crew, self._settings.admin) as admin:
            addresses = {
                "grpc": join(self._settings.grpc.host, launcher.grpc.number),
                "edge": join(self._settings.edge.host, launcher.edge.number),
                "admin": admin,
            }
            working = asyncio.create_task(self._work(crew, addresses))
            stopping = asyncio.create_task(self._stopped.wait())
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            _log.info("draining", grace_seconds=self._grace_seconds)
            working.cancel()
            stopping.cancel()
            broke, _ = await asyncio.gather(working, stopping, return_exceptions=True)
            await crew.clear(self._grace_seconds + _MARGIN_SECONDS)
        _log.info("stopped")
        return _status(broke)

    async def _work(self, crew: Crew, addresses: dict[str, str]) -> None:
        await crew.start()
        _log.info("ready", **addresses, workers=self._workers)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(crew.keep())
            tasks.create_task(self._renew(crew))

    async def _renew(self, crew: Crew) -> None:
        while True:
            await self._renewal.wait()
            # Whoever asks from here on gets another round: this one may have read the settings already.
            self._renewal.clear()
            if (settings := self._reloaded()) is None:
                continue
            _log.info("rolling restart")
            grace_seconds = settings.drain_grace_seconds
            self._grace_seconds = max(grace_seconds, self._grace_seconds)
            if await crew.renew(self._grace_seconds + _MARGIN_SECONDS):
                self._grace_seconds = grace_seconds
                _log.info("rolling restart done")
            else:
                _log.error("rolling restart given up: the workers that are left serve on as they are")

    def _reloaded(self) -> Settings | None:
        """Read the settings again; None if there can be no rolling restart with them."""
        try:
            settings = self._load()
        except SettingsError as error:
            _log.error("rolling restart refused: the settings cannot be used", mistakes=error.mistakes)
            return None
        if _listeners(settings) != _listeners(self._settings):
            _log.error("rolling restart refused: another address needs a restart of the whole")
            return None
        return settings


@asynccontextmanager
async def _admin(crew: Crew, settings: AdminSettings) -> AsyncIterator[str]:
    registry = CollectorRegistry()
    registry.register(crew.metrics)
    server = AdminServer(registry, crew.metrics, crew.readiness)
    try:
        yield await server.start(settings.host, settings.port)
    finally:
        await server.stop()


def _listeners(settings: Settings) -> list[tuple[str, int]]:
    return [(each.host, each.port) for each in (settings.grpc, settings.edge, settings.admin)]


def _status(broke: object) -> int:
    match broke:
        case StartError(status=status):
            return status if status > 0 else 1
        case asyncio.CancelledError():
            return 0
        case BaseException():
            raise broke
        case _:
            raise RuntimeError("workers are kept for ever")
