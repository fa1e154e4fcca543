"""Finds workers that hang: they live, but do nothing any more."""

import asyncio
from collections.abc import Sequence
from typing import Final

from gateway.workers.asking import probe
from gateway.workers.slot import Slot

__all__ = ["PROBE_SECONDS", "Pulse"]

PROBE_SECONDS: Final = 5.0
"""How often a worker is asked for a sign of life, and how long it may take to give one."""

_MOST_UNANSWERED: Final = 6
"""Half a minute; the same that an orchestrator should have with a gateway that is alone."""


class Pulse:
    """Asks all that serve for signs of life, and has those killed that give none.

    What counts are questions that were asked and not answered, one after the other, and not time: nobody is killed for
    having been stopped together with this process, as when the machine sleeps.
    """

    def __init__(self, slots: Sequence[Slot], every_seconds: float) -> None:
        """Prepare.

        Args:
            slots: Where the workers are.
            every_seconds: How often they are asked, and how long each may take to answer.
        """
        self._slots = slots
        self._every_seconds = every_seconds

    async def feel(self) -> None:
        """Ask, and kill; for ever."""
        now = asyncio.get_running_loop().time
        while True:
            next_at = now() + self._every_seconds
            serving = [slot.current for slot in self._slots if slot.current is not None]
            await asyncio.gather(*(probe(worker, self._every_seconds) for worker in serving))
            self._kill_one()
            await asyncio.sleep(next_at - now())

    def _kill_one(self) -> None:
        """Kill the one that has been silent for longest, but nobody while a place is empty.

        All seem to hang on a machine that is overloaded. They are not to go all at once: who takes over from the first
        has to be ready before it is the next one's turn.
        """
        serving = [(slot.current.unanswered, slot) for slot in self._slots if slot.current is not None]
        if len(serving) < len(self._slots):
            return
        unanswered, slot = max(serving, key=lambda each: each[0])
        if unanswered >= _MOST_UNANSWERED:
            slot.kill(unanswered * self._every_seconds)
