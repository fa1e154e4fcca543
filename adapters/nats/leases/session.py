"""This gateway's session, by which peers know that it is alive.

A session is an entry that its gateway renews. A peer ends the session of a gateway that is gone
(`adapters.nats.leases.peer_sessions`). Every change is a compare-and-set on the entry's revision, so of a concurrent
renewal and end one fails: a gateway whose renewal was stored had not been declared dead by then.

A session's leases may be used until `VALID_SECONDS` after its last renewal was *sent*, by its gateway's clock. A peer
ends the session no earlier than `SILENT_SECONDS` after that renewal was *received*, by the peer's clock. So clocks are
never compared; they only have to run at about the same rate.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from adapters.nats.connection.errors import NatsError
from adapters.nats.jetstream.bucket import Bucket

__all__ = ["END", "END_TTL_SECONDS", "SILENT_SECONDS", "VALID_SECONDS", "OwnSession", "Session", "session_key"]

SILENT_SECONDS: Final = 3.0
"""Silence after which peers may end a session."""
VALID_SECONDS: Final = 2.5
"""Validity of a renewal. What is sent within it has the remaining time to leave the process."""
END: Final = b""
"""The value of a session that has ended, for good."""
END_TTL_SECONDS: Final = 3600.0
_RENEW_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.25
_RESPONSE_SECONDS: Final = 1.0

# Advances while the process is stopped or the machine sleeps. The event loop's clock shows the time of its last
# iteration.
_boot_clock: Final = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def session_key(session_id: str) -> str:
    """Return the key of a session's entry."""
    return f"session.{session_id}"


@dataclass(slots=True, eq=False)
class Session:
    """A session of this gateway, from its first renewal to its end."""

    clock: Callable[[], float]
    session_id: str = field(default_factory=lambda: secrets.token_hex(8))
    revision: int = 0
    """The revision of the last renewal known to be stored; 0 before the first."""
    valid_until: float = 0.0

    def is_valid(self) -> bool:
        """Return whether its leases may be used now."""
        return self.clock() < self.valid_until


class OwnSession:
    """Renews this gateway's session, and begins a new one after a peer ended it."""

    def __init__(
        self,
        bucket: Bucket,
        renewal: Callable[[], bytes],
        on_begin: Callable[[], None],
        on_loss: Callable[[], None],
        clock: Callable[[], float] = _boot_clock,
    ) -> None:
        """Prepare; `run` begins a session.

        Args:
            bucket: The bucket of the sessions.
            renewal: Returns the value of a renewal: never the same twice, never empty.
            on_begin: Called when the session has become valid.
            on_loss: Called when its leases may no longer be used.
            clock: The clock, in seconds.
        """
        self.session = Session(clock)
        """The present session, or the one that is about to begin."""
        self._bucket = bucket
        self._renewal = renewal
        self._on_begin = on_begin
        self._on_loss = on_loss
        self._is_valid = False
        self._renew_now = asyncio.Event()

    def renew_soon(self) -> None:
        """Have `run` renew now, because the value has changed."""
        self._renew_now.set()

    async def run(self) -> None:
        """Keep a session alive while NATS is reachable."""
        while True:
            self._renew_now.clear()
            seconds = _RENEW_SECONDS if await self.renew() else _RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._renew_now.wait()

    async def end(self) -> None:
        """End the session for peers. Must not run concurrently with `run`."""
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(_RESPONSE_SECONDS):
                # Unconditional: no renewal is in flight, but the revision is unknown if the last response was missed.
                await self._bucket.put(session_key(self.session.session_id), END, ttl_seconds=END_TTL_SECONDS)

    async def renew(self) -> bool:
        """Renew the session once, or begin it. Returns whether the renewal was stored."""
        session, sent = self.session, self.session.clock()
        key = session_key(session.session_id)
        try:
            async with asyncio.timeout(_RESPONSE_SECONDS):
                revision = await self._bucket.put(key, self._renewal(), expected=session.revision)
                if revision is None:
                    await self._resolve_conflict(session)
        except (NatsError, TimeoutError):
            revision = None
        # Even if the renewal was stored: leases that expired meanwhile stay lost.
        if not session.is_valid():
            self._lose()
        if revision is None:
            return False
        session.revision, session.valid_until = revision, sent + VALID_SECONDS
        if not self._is_valid and session.is_valid():
            self._is_valid = True
            self._on_begin()
        return True

    async def _resolve_conflict(self, session: Session) -> None:
        entry = await self._bucket.get(session_key(session.session_id))
        if entry is not None and entry.value != END:
            # An earlier renewal was stored whose response did not arrive.
            session.revision = entry.revision
        else:
            self._lose()
            self.session = Session(session.clock)
        self._renew_now.set()

    def _lose(self) -> None:
        if self._is_valid:
            self._is_valid = False
            self._on_loss()
