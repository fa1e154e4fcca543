"""Finds the active cards: those with a notification in the event log, and those that were changed.

The log has no list of cards, so it is read, page by page with pauses: live traffic shares it.
"""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Final, Self

from gateway.backfill.records import Records
from gateway.ports import EventDamagedError, EventKind, EventLog

__all__ = ["ActiveCards", "CardIds"]

_PAGE_SIZE: Final = 25
_PAUSE_RATIO: Final = 19
"""The pause after each page, as a multiple of its reading: so one live notification in twenty meets it at most."""
_SORTED_AT_ONCE: Final = 1000
"""Few enough that nothing else waits long."""


class CardIds:
    """Ids of cards, in order."""

    def __init__(self, parts: Sequence[Sequence[str]]) -> None:
        """Join sorted parts. Use `sort`."""
        self._parts = parts
        self.total = sum(map(len, parts))
        """Their number."""

    @classmethod
    async def sort(cls, ids: Collection[str]) -> Self:
        """Sort ids, however many, without delaying anything else."""
        parts, rest = [], iter(ids)
        while part := sorted(islice(rest, _SORTED_AT_ONCE)):
            parts.append(part)
            await asyncio.sleep(0)
        return cls(parts)

    def count_through(self, last: str) -> int:
        """Return how many come before another one, it included."""
        return sum(bisect_right(part, last) for part in self._parts)

    def after(self, last: str) -> Iterator[str]:
        """Return those after another one."""
        return merge(*(islice(part, bisect_right(part, last), None) for part in self._parts))


class ActiveCards:
    """The active cards of each issuer, found by one pass through the log for all issuers that ask at the same time."""

    def __init__(
        self, log: EventLog, records: Records, *, active_card_seconds: float, now_ms: Callable[[], int]
    ) -> None:
        self._log = log
        self._records = records
        self._active_card_seconds = active_card_seconds
        self._now_ms = now_ms
        self._wanted: set[str] = set()
        self._found: dict[str, set[str]] = {}
        self._reading = asyncio.Lock()

    async def of(self, issuer_id: str) -> CardIds:
        """Return the active cards of an issuer.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE or STORE_UNAVAILABLE.
        """
        self._wanted.add(issuer_id)
        async with self._reading:
            if issuer_id not in self._found:
                wanted = frozenset(self._wanted)
                self._found.update(await self._read(wanted))
                self._wanted -= wanted
            cards = self._found.pop(issuer_id)
        cards.update(await self._records.active_cards(issuer_id))
        return await CardIds.sort(cards)

    async def _read(self, issuer_ids: Collection[str]) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {issuer_id: set() for issuer_id in issuer_ids}
        after = await self._log.sequence_before(self._now_ms() - round(self._active_card_seconds * 1000))
        end = (await self._log.bounds()).last
        while after < end:
            began = time.monotonic()
            try:
                read = await self._log.read(after, _PAGE_SIZE)
            except EventDamagedError as error:
                after = error.sequence
                continue
            for _, event in read.events:
                if event.kind == EventKind.THREE_DS_OPERATION and event.issuer_id in found:
                    found[event.issuer_id].add(event.subject_id)
            # Retention may remove what comes next.
            after = max(read.through, read.bounds.trimmed_through, after + 1 if not read.events else after)
            await asyncio.sleep(_PAUSE_RATIO * (time.monotonic() - began))
        return found
