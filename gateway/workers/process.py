"""A worker as its supervisor sees it."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from gateway.aio.signals import hold, release
from gateway.workers.place import READY, Place

__all__ = ["Worker"]


class Worker:
    """A process of its own."""

    def __init__(self, place: Place, process: asyncio.subprocess.Process) -> None:
        """Hold a process; `start` makes one."""
        self.place = place
        self.unanswered = 0
        """How many probes in a row it has left without an answer."""
        self._process = process
        self._ready_since = float("inf")

    @classmethod
    async def start(cls, command: Sequence[str], place: Place) -> Self:
        """Start a process, which then has to become ready.

        Args:
            command: Starts a worker once its place is added.
            place: Where it belongs.

        Raises:
            OSError: The system gives no process.
        """
        # SIGHUP means the supervisor, and would kill a worker: it has it held from its first moment to its last.
        hold(signal.SIGHUP)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                place.to_argument(),
                # Nothing is written to it: it ends when this process does, and that is how an orphan knows.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=place.edge_fds,
                # Ctrl-C is meant for the supervisor alone, which tells them.
                process_group=0,
            )
        finally:
            release(signal.SIGHUP)
        return cls(place, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def served_seconds(self) -> float:
        """For how long it has been ready; 0 before that."""
        return max(0.0, time.monotonic() - self._ready_since)

    async def is_ready_within(self, seconds: float) -> bool:
        """Wait until it serves; tells whether it does. If not, it has ended or takes too long."""
        output = self._process.stdout
        if output is None:
            raise RuntimeError("its standard output is a pipe")
        try:
            async with asyncio.timeout(seconds):
                is_ready = await output.readline() == READY
        except TimeoutError:
            return False
        if is_ready:
            self._ready_since = time.monotonic()
        return is_ready

    async def status(self) -> int:
        """Wait until it ends; returns its exit status, or the number of the signal that ended it as a negative."""
        return await self._process.wait()

    def drain(self) -> None:
        """Ask it to finish what it has begun, and to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        # Not by `send_signal`: it looks first whether the process has ended, and then its status is lost to asyncio.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
