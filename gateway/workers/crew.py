"""All workers of a gateway."""

import asyncio

import structlog

from gateway.workers.launching import Launcher
from gateway.workers.process import Worker
from gateway.workers.pulse import Pulse
from gateway.workers.slot import Slot
from gateway.workers.telemetry import CrewMetrics, CrewReadiness

__all__ = ["Crew"]

_log = structlog.get_logger(__name__)


class Crew:
    """Starts workers, and keeps as many."""

    def __init__(self, count: int, launcher: Launcher, probe_seconds: float) -> None:
        """Prepare.

        Args:
            count: How many.
            launcher: Starts them.
            probe_seconds: How often they are asked for a sign of life.
        """
        self._slots = tuple(Slot(number, launcher, self._bury) for number in range(1, count + 1))
        self._pulse = Pulse(self._slots, probe_seconds)
        self.metrics = CrewMetrics(self._slots)
        """What they count."""
        self.readiness = CrewReadiness(self._slots)
        """Whether they are ready."""

    async def start(self) -> None:
        """Start all.

        Raises:
            StartError: One does not become ready.
            OSError: The system gives no process or no socket.
        """
        first, *others = self._slots
        # If the settings are of no use, one says so, and not each of them.
        await first.fill()
        filled = await asyncio.gather(*(slot.fill() for slot in others), return_exceptions=True)
        for error in filled:
            if error is not None:
                raise error
        self.readiness.phase = "serving"

    async def keep(self) -> None:
        """Replace whoever dies, and whoever hangs; for ever."""
        async with asyncio.TaskGroup() as keeping:
            for slot in self._slots:
                keeping.create_task(slot.keep())
            keeping.create_task(self._pulse.feel())

    async def renew(self, drain_seconds: float) -> bool:
        """Replace all, one after the other, each by one that is ready.

        Args:
            drain_seconds: How long an old one may take to end.

        Returns:
            Whether all are new. If a new one does not become ready, those whose turn has not come serve on.
        """
        for slot in self._slots:
            if not await slot.renew(drain_seconds):
                return False
        return True

    async def clear(self, drain_seconds: float) -> None:
        """End all; `keep` and `renew` must have ended.

        Args:
            drain_seconds: How long they may take.
        """
        self.readiness.phase = "draining"
        await asyncio.gather(*(slot.clear(drain_seconds) for slot in self._slots))

    def _bury(self, worker: Worker) -> None:
        self.metrics.bury(worker)
