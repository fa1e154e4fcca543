"""The sessions of the other gateways: which of them live, and what they say.

Renewals are heard as they are published. Whose session says nothing for `SILENT_SECONDS` is looked at, and ended if the
last renewal that is stored is the last one that was heard; `own_session` says why nobody uses it then.
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

_LOOK_SECONDS: Final = 0.25
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Heard:
    value: bytes
    """What it said last."""
    time: float
    """When that was heard."""
    says_end: bool = False
    """Whether it was said to be ended, which counts only if it is stored."""


class PeerSessions:
    """Knows every session but our own."""

    def __init__(self, bucket: Bucket, on_end: Callable[[], None]) -> None:
        """Know none yet.

        Args:
            bucket: Where sessions are.
            on_end: Told when a session has ended.
        """
        self._bucket = bucket
        self._on_end = on_end
        self._heard: dict[str, _Heard] = {}
        self._ended: set[str] = set()
        self._hint = asyncio.Event()

    async def find(self) -> None:
        """Find those that are there.

        Raises:
            NatsError: It cannot be known.
        """
        for key in await self._bucket.keys(session_key("*")):
            await self.is_over(key.removeprefix(session_key("")))

    def hear(self, session_id: str, value: bytes) -> None:
        """Note what a session says."""
        if session_id in self._ended:
            return
        if value != END:
            self._heard[session_id] = _Heard(value, time.monotonic())
        elif session_id in self._heard:
            self._heard[session_id].says_end = True
            self._hint.set()

    def excuse(self) -> None:
        """Let silence count from now on: we could not hear them until now."""
        for heard in self._heard.values():
            heard.time = time.monotonic()

    async def is_over(self, session_id: str) -> bool:
        """Tell whether a session has ended; from now on it is listened for.

        Raises:
            NatsError: It cannot be known.
        """
        if session_id not in self._heard and session_id not in self._ended:
            found = await self._bucket.get(session_key(session_id))
            if found is not None and found.value == END:
                self._ended.add(session_id)
            else:
                self._heard.setdefault(session_id, _Heard(END if found is None else found.value, time.monotonic()))
        return session_id in self._ended

    def values(self) -> Iterator[bytes]:
        """Tell what each living session says."""
        return (heard.value for heard in self._heard.values())

    async def run(self) -> None:
        """End the sessions of gateways that are gone."""
        while True:
            self._hint.clear()
            for session_id, heard in list(self._heard.items()):
                is_silent = time.monotonic() - heard.time >= SILENT_SECONDS
                if is_silent or heard.says_end:
                    with suppress(NatsError):
                        await self._look(session_id, heard.value, is_silent=is_silent)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._hint.wait()

    async def _look(self, session_id: str, last_heard: bytes, *, is_silent: bool) -> None:
        key = session_key(session_id)
        found = await self._bucket.get(key)
        if found is None or found.value != END:
            if not is_silent:
                return
            if found is not None and found.value != last_heard:
                self.hear(session_id, found.value)
                return
            revision = 0 if found is None else found.revision
            if await self._bucket.put(key, END, expected=revision, ttl_seconds=END_TTL_SECONDS) is None:
                # It lives: a renewal came before this.
                return
        del self._heard[session_id]
        self._ended.add(session_id)
        _log.info("peer_session_ended", session=session_id)
        self._on_end()
