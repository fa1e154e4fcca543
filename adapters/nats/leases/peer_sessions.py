"""The sessions of peers: which are alive, and what they announce.

Renewals are received as they are published. A session without renewals for `SILENT_SECONDS` is looked up, and ended if
its stored renewal is the last one received; `adapters.nats.leases.session` explains why nobody uses it then.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from adapters.nats.connection.errors import NatsError
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.leases.session import END, END_TTL_SECONDS, SILENT_SECONDS, session_key

__all__ = ["PeerSessions"]

_CHECK_SECONDS: Final = 0.25
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _PeerSession:
    renewal: bytes
    """The last renewal."""
    time: float
    """When it was received."""
    is_end_announced: bool = False
    """Whether an end was published, which counts only if it is stored."""


class PeerSessions:
    """Knows every session except this gateway's."""

    def __init__(self, bucket: Bucket, on_end: Callable[[], None]) -> None:
        """Prepare; `load` and `receive` add sessions.

        Args:
            bucket: The bucket of the sessions.
            on_end: Called when a session has ended.
        """
        self._bucket = bucket
        self._on_end = on_end
        self._alive: dict[str, _PeerSession] = {}
        self._ended: set[str] = set()
        self._check_soon = asyncio.Event()

    async def load(self) -> None:
        """Load the present sessions.

        Raises:
            NatsError: NATS does not respond.
        """
        for key in await self._bucket.keys(session_key("*")):
            await self.has_ended(key.removeprefix(session_key("")))

    def receive(self, session_id: str, renewal: bytes) -> None:
        """Note a renewal, or the end, of a session."""
        if session_id in self._ended:
            return
        if renewal != END:
            self._alive[session_id] = _PeerSession(renewal, time.monotonic())
        elif session_id in self._alive:
            self._alive[session_id].is_end_announced = True
            self._check_soon.set()

    def restart_timers(self) -> None:
        """Measure silence from now on: renewals could not be received before."""
        for session in self._alive.values():
            session.time = time.monotonic()

    async def has_ended(self, session_id: str) -> bool:
        """Return whether a session has ended. If not, it is observed from now on.

        Raises:
            NatsError: NATS does not respond.
        """
        if session_id not in self._alive and session_id not in self._ended:
            entry = await self._bucket.get(session_key(session_id))
            if entry is not None and entry.value == END:
                self._ended.add(session_id)
            else:
                renewal = END if entry is None else entry.value
                self._alive.setdefault(session_id, _PeerSession(renewal, time.monotonic()))
        return session_id in self._ended

    def renewals(self) -> Iterator[bytes]:
        """Return the last renewal of each living session."""
        return (session.renewal for session in self._alive.values())

    async def run(self) -> None:
        """End the sessions of gateways that are gone."""
        while True:
            self._check_soon.clear()
            for session_id, session in list(self._alive.items()):
                is_silent = time.monotonic() - session.time >= SILENT_SECONDS
                if is_silent or session.is_end_announced:
                    with suppress(NatsError):
                        await self._check(session_id, session.renewal, is_silent=is_silent)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._check_soon.wait()

    async def _check(self, session_id: str, last_received: bytes, *, is_silent: bool) -> None:
        key = session_key(session_id)
        entry = await self._bucket.get(key)
        if entry is None or entry.value != END:
            if not is_silent:
                return
            if entry is not None and entry.value != last_received:
                self.receive(session_id, entry.value)
                return
            revision = 0 if entry is None else entry.revision
            if await self._bucket.put(key, END, expected=revision, ttl_seconds=END_TTL_SECONDS) is None:
                # It is alive: a renewal was stored first.
                return
        del self._alive[session_id]
        self._ended.add(session_id)
        _log.info("peer_session_ended", session=session_id)
        self._on_end()
