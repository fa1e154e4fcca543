"""One of the places that always have a worker: a dead one is replaced, and so is one that is to be renewed."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from gateway.workers.backoff import Backoff
from gateway.workers.launching import Launcher
from gateway.workers.process import Worker

__all__ = ["Slot", "StartError"]

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """A worker did not become ready."""

    def __init__(self, status: int) -> None:
        super().__init__("a worker did not become ready")
        self.status = status
        """How it ended; see `Worker.status`."""


class Slot:
    """A place for a worker. There are two in it while one takes over from the other, and none after a death."""

    def __init__(self, number: int, launcher: Launcher, bury: Callable[[Worker], None]) -> None:
        """Prepare an empty place.

        Args:
            number: Its number.
            launcher: Starts workers.
            bury: Told of everybody who has ended, however that came.
        """
        self.number = number
        self.current: Worker | None = None
        """Who serves here; None while nobody does."""
        self.deaths = 0
        """How many have ended without being told to."""
        self._launcher = launcher
        self._bury = bury
        self._edge: Sequence[socket.socket] = ()
        self._ends: dict[Worker, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()
        self._died = asyncio.Event()
        self._backoff = Backoff()
        self._lived_seconds = 0.0

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Everybody here, those that start and those that drain included."""
        return tuple(self._ends)

    async def fill(self) -> None:
        """Start a worker, and make it the current one when it is ready.

        Raises:
            StartError: It does not become ready.
            OSError: The system gives no process or no socket.
        """
        # Who takes over goes on with the same sockets: no connection is lost on the way from one to the other.
        self._edge = self._edge or self._launcher.edge.share()
        worker = await self._launcher.launch(self.number, self._edge)
        self._ends[worker] = end = asyncio.create_task(self._attend(worker))
        is_ready = await worker.is_ready_within(self._launcher.ready_seconds)
        # It may have said so, and died before that was heard.
        if not is_ready or worker not in self._ends:
            worker.kill()
            await asyncio.shield(end)
            status = await worker.status()
            _log.error("worker did not become ready", number=self.number, pid=worker.pid, **_told(status))
            raise StartError(status)
        self.current = worker

    async def keep(self) -> None:
        """Start another worker whenever the current one has died; for ever."""
        while True:
            await self._died.wait()
            self._died.clear()
            while self.current is None:
                await asyncio.sleep(self._backoff.seconds_after(self._lived_seconds))
                self._lived_seconds = 0.0
                async with self._changing:
                    # Whoever renews may have been faster.
                    if self.current is None:
                        await self._try_to_fill()

    def kill(self, silent_seconds: float) -> None:
        """Kill the current worker because it hangs; `keep` replaces it.

        Args:
            silent_seconds: For how long it has given no sign of life.
        """
        if (worker := self.current) is None:
            return
        _log.error("worker hangs and is killed", number=self.number, pid=worker.pid, silent_seconds=silent_seconds)
        worker.kill()
        self._lose(worker)

    async def renew(self, drain_seconds: float) -> bool:
        """Replace the worker: the next one is ready before the old one is told to go, and that is gone at the end.

        Args:
            drain_seconds: How long the old one may take.

        Returns:
            Whether there is a new one. If not, the old one serves on.
        """
        async with self._changing:
            old = self.current
            if not await self._try_to_fill():
                return False
        if old in self._ends:
            await self._dismiss([old], drain_seconds)
        return True

    async def clear(self, drain_seconds: float) -> None:
        """Tell everybody to go, and wait until they have; `keep` and `renew` must have ended.

        Args:
            drain_seconds: How long they may take.
        """
        self.current = None
        # What nobody will serve has to be refused, not kept waiting until everybody has gone.
        self._release()
        await self._dismiss(self.workers, drain_seconds)

    async def _try_to_fill(self) -> bool:
        try:
            await self.fill()
        except StartError:
            return False
        except OSError as error:
            _log.error("worker cannot be started", number=self.number, error=str(error))
            return False
        return True

    async def _dismiss(self, workers: Iterable[Worker], seconds: float) -> None:
        ends = {worker: self._ends[worker] for worker in workers}
        for worker in ends:
            worker.drain()
        if ends:
            await asyncio.wait(ends.values(), timeout=seconds)
        for worker in ends.keys() & self._ends.keys():
            _log.error("worker took too long to end", number=self.number, pid=worker.pid, seconds=seconds)
            worker.kill()
        await asyncio.gather(*ends.values())

    async def _attend(self, worker: Worker) -> None:
        """Wait for the end of a worker, and clear up after it."""
        status = await worker.status()
        del self._ends[worker]
        if not self._ends:
            # Nobody listens there any more. Elsewhere somebody does: that is where connections have to go.
            self._release()
        if worker is self.current:
            _log.error("worker died", number=self.number, pid=worker.pid, **_told(status))
            self._lose(worker)
        self._bury(worker)

    def _lose(self, worker: Worker) -> None:
        self.current = None
        self.deaths += 1
        self._lived_seconds = worker.served_seconds
        self._died.set()

    def _release(self) -> None:
        for each in self._edge:
            each.close()
        self._edge = ()


def _told(status: int) -> Mapping[str, object]:
    return {"exit_status": status} if status >= 0 else {"signal": signal.Signals(-status).name}
