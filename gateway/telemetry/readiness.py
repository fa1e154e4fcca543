"""Readiness: whether this instance should receive work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gateway.errors import GatewayError
from gateway.ports import EventLog, KeyValueStore
from issuer.common.v1 import error_pb2

__all__ = ["OK", "Phase", "Readiness", "Report"]

Phase: TypeAlias = Literal["starting", "serving", "draining"]
"""Phase in the life of a gateway: ``serving`` while both servers accept calls."""

OK: Final = "ok"
"""Result of a check that passed."""


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a readiness check."""

    checks: Mapping[str, str]
    """Result by check: ``ok``, or the problem."""
    circuits: Mapping[str, str]
    """State of each upstream's circuit breaker. For information only: it does not affect readiness."""

    @property
    def is_ready(self) -> bool:
        """Whether all checks passed."""
        return all(result == OK for result in self.checks.values())


_KEY: Final = "readiness"
_KEY_TTL_SECONDS: Final = 60.0


class Readiness:
    """Checks whether the gateway can work.

    An unavailable upstream does not count. All instances share it, so they would all be taken out of service at once,
    and with them the callbacks and the streams, which need no upstream.
    """

    def __init__(
        self,
        log: EventLog,
        key_value_store: KeyValueStore,
        circuits: Callable[[], Mapping[str, str]],
        *,
        counts_damage: bool = True,
        audit_failure: Callable[[], str] | None = None,
        timeout_seconds: float = 2.0,
        max_age_seconds: float = 1.0,
    ) -> None:
        """Start in the phase ``starting``.

        Args:
            log: The event log, which must be readable.
            key_value_store: The key-value store, which must be writable; it shares its storage with the log.
            circuits: Returns the state of each upstream's circuit breaker.
            counts_damage: Whether damaged events count. Not if the log is shared: one notification would take
                all instances out of service.
            audit_failure: Returns why the audit trail cannot be written, empty while it can; None if no call is refused
                for that.
            timeout_seconds: Time limit for each check of the storage.
            max_age_seconds: How long a result is reused, so that frequent probes do not wear the disk.
        """
        self.phase: Phase = "starting"
        self._log = log
        self._key_value_store = key_value_store
        self._circuits = circuits
        self._counts_damage = counts_damage
        self._audit_failure = audit_failure
        self._timeout_seconds = timeout_seconds
        self._max_age_seconds = max_age_seconds
        self._storage: dict[str, str] = {}
        self._stale_from = float("-inf")
        self._checking = asyncio.Lock()

    async def report(self) -> Report:
        """Check readiness."""
        async with self._checking:
            clock = asyncio.get_running_loop().time
            if clock() >= self._stale_from:
                self._storage = {
                    "event_log_read": await self._result(self._read),
                    "event_log_write": await self._result(self._write),
                }
                self._stale_from = clock() + self._max_age_seconds
        serving = OK if self.phase == "serving" else self.phase
        audit = {} if self._audit_failure is None else {"audit": self._audit_failure() or OK}
        return Report({"serving": serving, **self._storage, **audit}, dict(self._circuits()))

    async def _result(self, check: Callable[[], Awaitable[object]]) -> str:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await check()
        except TimeoutError:
            return f"no response within {self._timeout_seconds:g} s"
        except GatewayError as error:
            return error.message
        return OK

    async def _read(self) -> None:
        await self._log.read((await self._log.bounds()).last, 1)
        if self._counts_damage and (damage := sorted(self._log.damaged_events)):
            more = f" and {len(damage) - 1} more" if len(damage) > 1 else ""
            message = f"damaged: {damage[0]}{more}; stop the gateway, and run d1-gateway log check"
            raise GatewayError(error_pb2.ERROR_REASON_EVENT_DAMAGED, message)

    async def _write(self) -> None:
        await self._key_value_store.put(_KEY, b"", _KEY_TTL_SECONDS)
