"""Whether this instance should be sent work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gateway.errors import GatewayError
from gateway.ports import EventLog, KeyValueStore

__all__ = ["OK", "Phase", "Readiness", "Report"]

Phase: TypeAlias = Literal["starting", "serving", "draining"]
"""Where in its life a gateway is: ``serving`` once both servers take calls."""

OK: Final = "ok"
"""What a check says of which nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    checks: Mapping[str, str]
    """``ok``, or what is wrong, for each."""
    circuits: Mapping[str, str]
    """How the circuit breaker of each upstream stands. For people: it decides nothing."""

    @property
    def is_ready(self) -> bool:
        """Whether all is well."""
        return all(result == OK for result in self.checks.values())


_KEY: Final = "readiness"
_ENTRY_SECONDS: Final = 60.0


class Readiness:
    """Looks whether the gateway can do its work.

    An upstream that is down does not count. Every instance has the same upstream, so all would be taken out of service
    at once, and with them D1's callbacks and the streams, which need no upstream.
    """

    def __init__(
        self,
        log: EventLog,
        entries: KeyValueStore,
        circuits: Callable[[], Mapping[str, str]],
        *,
        patience_seconds: float = 2.0,
        fresh_seconds: float = 1.0,
    ) -> None:
        """Look at a gateway that starts.

        Args:
            log: Has to be readable.
            entries: Has to be writable; it shares its storage with the log.
            circuits: Tells how the upstreams' circuit breakers stand.
            patience_seconds: How long the storage may take.
            fresh_seconds: How long a finding stands: asking often does not wear the disk.
        """
        self.phase: Phase = "starting"
        self._log = log
        self._entries = entries
        self._circuits = circuits
        self._patience_seconds = patience_seconds
        self._fresh_seconds = fresh_seconds
        self._storage: dict[str, str] = {}
        self._stale_from = float("-inf")
        self._looking = asyncio.Lock()

    async def report(self) -> Report:
        """Look, and tell."""
        async with self._looking:
            clock = asyncio.get_running_loop().time
            if clock() >= self._stale_from:
                self._storage = {
                    "event_log_read": await self._result(self._read),
                    "event_log_write": await self._result(self._write),
                }
                self._stale_from = clock() + self._fresh_seconds
        serving = OK if self.phase == "serving" else self.phase
        return Report({"serving": serving, **self._storage}, dict(self._circuits()))

    async def _result(self, look: Callable[[], Awaitable[object]]) -> str:
        try:
            async with asyncio.timeout(self._patience_seconds):
                await look()
        except TimeoutError:
            return f"no answer within {self._patience_seconds:g} s"
        except GatewayError as error:
            return error.message
        return OK

    async def _read(self) -> None:
        await self._log.read((await self._log.bounds()).last, 1)

    async def _write(self) -> None:
        await self._entries.put(_KEY, b"", _ENTRY_SECONDS)
