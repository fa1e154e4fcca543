"""What a gateway notes of cards while it works, for the gateway that does the backfills.

It is kept in memory, and stored right after. An rpc does not wait for that; a callback does before it responds with an
error, for the platform may never send again what it reports.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

import structlog

from gateway.backfill.records import Gap, Records, Refused
from gateway.backfill.state import Cause
from gateway.errors import GatewayError

__all__ = ["CardNotes"]

_Card: TypeAlias = tuple[str, str]
"""Ids of an issuer and a card."""

_MAX_PENDING: Final = 10_000
"""Notes of each kind in memory, while the storage is unavailable."""
_MAX_MISSED: Final = 10_000
"""Cards of missed notifications that are noted in an hour; beyond them, the active cards are read. The leader lists all
that wait every few seconds, and takes half an hour for as many."""
_HOUR_MS: Final = 3_600_000
_MAX_REMEMBERED: Final = 100_000
"""Active cards that are known to be noted."""
_REPEAT_MS: Final = 6 * 3_600_000
"""How long an active card is not noted again."""
_RETRY_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 2.0
_OLDEST_MS: Final = 24 * 3_600_000
"""How long before its notification an operation may have happened: the platform repeats notifications."""

_log = structlog.get_logger(__name__)


class CardNotes:
    """A `gateway.ports.MissedNotifications` that also takes the cards that are changed."""

    def __init__(
        self, records: Records, *, active_card_seconds: float, settle_seconds: float, now_ms: Callable[[], int]
    ) -> None:
        """Start without notes.

        Args:
            records: Where they are stored.
            active_card_seconds: How long a changed card counts as active.
            settle_seconds: How long the platform may take to repeat a notification that was refused.
            now_ms: The wall clock, in milliseconds since 1970 (UTC).
        """
        self._records = records
        self._active_card_seconds = active_card_seconds
        self._settle_ms = round(settle_seconds * 1000)
        self._now_ms = now_ms
        self._missed: dict[_Card, int] = {}
        self._lost: dict[str, int] = {}
        """By issuer, the begin of the hour in which there was no room for a missed notification."""
        self._hour_ms = now_ms()
        self._missed_count = 0
        """In this hour."""
        self._active: dict[_Card, None] = {}
        self._remembered: OrderedDict[_Card, int] = OrderedDict()
        self._noted = asyncio.Event()
        self._stored = asyncio.get_running_loop().create_future()
        """Ends when what is noted until then was stored."""

    def note(self, issuer_id: str, card_id: str) -> "asyncio.Future[None]":
        """Note that a notification of a card was refused, or could not be read."""
        card, now_ms = (issuer_id, card_id), self._now_ms()
        if now_ms - self._hour_ms >= _HOUR_MS:
            self._hour_ms, self._missed_count = now_ms, 0
        is_known = card in self._missed
        if is_known or (len(self._missed) < _MAX_PENDING and self._missed_count < _MAX_MISSED):
            self._missed[card] = now_ms
            self._missed_count += not is_known
        else:
            self._lost.setdefault(issuer_id, self._hour_ms)
        self._noted.set()
        return self._stored

    def note_change(self, issuer_id: str, card_id: str) -> None:
        """Note that a card was changed, unless it was noted a short time ago."""
        card, now_ms = (issuer_id, card_id), self._now_ms()
        if now_ms - self._remembered.get(card, 0) < _REPEAT_MS or len(self._active) >= _MAX_PENDING:
            return
        self._remembered[card] = now_ms
        self._remembered.move_to_end(card)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        self._active[card] = None
        self._noted.set()

    @asynccontextmanager
    async def stored(self) -> AsyncIterator[None]:
        """Store the notes for as long as the context lasts, and what is left as it ends."""
        storing = asyncio.create_task(self._store_regularly())
        try:
            yield
        finally:
            storing.cancel()
            await asyncio.gather(storing, return_exceptions=True)
            with suppress(GatewayError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._store()
            if self._missed or self._lost:
                _log.error("backfill_notes_lost", cards=len(self._missed), issuers=len(self._lost))

    async def _store_regularly(self) -> None:
        while True:
            await self._noted.wait()
            self._noted.clear()
            stored, self._stored = self._stored, asyncio.get_running_loop().create_future()
            pause_seconds = 0.0
            try:
                await self._store()
            except GatewayError:
                # Logged where calls and callbacks fail.
                pause_seconds = _RETRY_SECONDS
            except Exception:  # noqa: BLE001 (a fault of ours must not end all notes)
                _log.exception("backfill_failed")
                pause_seconds = _RETRY_SECONDS
            finally:
                stored.set_result(None)
            if pause_seconds:
                await asyncio.sleep(pause_seconds)
                self._noted.set()

    async def _store(self) -> None:
        # Removed afterwards, so that nothing is lost by a failure; and only if nothing came meanwhile.
        for (issuer_id, card_id), time_ms in list(self._missed.items()):
            refused = Refused(time_ms - _OLDEST_MS, time_ms + self._settle_ms)
            await self._records.add_refused(issuer_id, card_id, refused)
            if self._missed[issuer_id, card_id] == time_ms:
                del self._missed[issuer_id, card_id]
        for issuer_id, time_ms in list(self._lost.items()):
            gap = Gap(time_ms - _OLDEST_MS, self._now_ms(), Cause.REFUSED)
            await self._records.add_gap(issuer_id, gap)
            del self._lost[issuer_id]
        for card in list(self._active):
            await self._records.add_active(*card, self._active_card_seconds + _REPEAT_MS / 1000)
            del self._active[card]
