"""Storing many events in one order, although many are on their way at the same time.

Each says at which place of the stream it has to stand, and the server stores it there or not at all. So where one is
refused or lost, those behind it are not stored either: unless another gateway's event took the very place of the one
that is missing. That is why no two of the same card or consumer are on their way at the same time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError
from adapters.nats.connection.subjects import Names
from adapters.nats.event_log.envelope import pack
from adapters.nats.event_log.reader import Reader
from adapters.nats.jetstream.jetstream import EXPECTED_LAST, may_pass, parse_ack
from gateway.ports import Event, LogBounds

__all__ = ["Ordering"]

_EXPECTED_LAST_OF_ALL: Final = "Nats-Expected-Last-Sequence"
_AT_ONCE: Final = 256
"""How many are on their way at the same time: those behind one that is refused are sent for nothing."""
_PAUSE_SECONDS: Final = 0.05


class Ordering:
    """Stores events in the order in which they are given.

    Where others store some meanwhile, that is kept for the events of each card and of each consumer.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        reader: Reader,
        look: Callable[[], Awaitable[LogBounds]],
        patience_seconds: float,
        on_stored: Callable[[Event, int], None],
    ) -> None:
        """Prepare.

        Args:
            connection: To NATS.
            names: Of the stream and its subjects.
            reader: Of the same stream.
            look: Tells what the stream holds.
            patience_seconds: For how long is tried where nothing is stored.
            on_stored: Told each event that was stored, and its sequence.
        """
        self._connection = connection
        self._names = names
        self._reader = reader
        self._look = look
        self._patience_seconds = patience_seconds
        self._on_stored = on_stored

    async def append(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store events. Tells of each whether it is new; one whose answer got lost passes for a duplicate.

        Raises:
            NatsError: They are not all stored. The first ones may be.
        """
        news = [False] * len(events)
        waiting: Sequence[int] = range(len(events))
        last: int | None = None
        deadline = time.monotonic() + self._patience_seconds
        while waiting:
            if last is None:
                last = (await self._look()).last
            window = _window(events, waiting)
            refusals = await self._put_all(events, window, last)
            for place in window:
                news[place] = place not in refusals
            # Somebody else's came in between, or one is a duplicate: only what is there is one.
            last = None if refusals else last + len(window)
            missing = await self._missing(events, refusals)
            if len(missing) < len(window):
                deadline = time.monotonic() + self._patience_seconds
            elif time.monotonic() > deadline or not may_pass(refusals[missing[0]]):
                raise refusals[missing[0]]
            else:
                await asyncio.sleep(_PAUSE_SECONDS)
            waiting = [*missing, *waiting[len(window) :]]
        return news

    async def _put_all(self, events: Sequence[Event], places: Sequence[int], last: int) -> Mapping[int, NatsError]:
        """Store events behind a sequence; returns why some were not stored, as far as that is known."""
        outcomes = await asyncio.gather(*(self._put(events[place], last + n) for n, place in enumerate(places)))
        return {place: outcome for place, outcome in zip(places, outcomes, strict=True) if outcome is not None}

    async def _put(self, event: Event, last: int) -> NatsError | None:
        headers = {EXPECTED_LAST: "0", _EXPECTED_LAST_OF_ALL: str(last)}
        try:
            answer = await self._connection.request(self._names.event(event), pack(event), headers=headers)
            self._on_stored(event, parse_ack(answer))
        except NatsError as error:
            return error
        return None

    async def _missing(self, events: Sequence[Event], refusals: Mapping[int, NatsError]) -> Sequence[int]:
        """Tell which of those that were not stored are not there."""
        subjects = [self._names.event(events[place]) for place in refusals]
        held = await asyncio.gather(*(self._reader.holds(subject) for subject in subjects))
        return [place for place, is_there in zip(refusals, held, strict=True) if not is_there]


def _window(events: Sequence[Event], waiting: Sequence[int]) -> Sequence[int]:
    """Return the first of those that wait, up to where a card or a consumer comes again."""
    seen: set[str] = set()
    for count, place in enumerate(waiting[:_AT_ONCE]):
        ids = {events[place].subject_id, events[place].consumer_id} - {""}
        if not seen.isdisjoint(ids):
            return waiting[:count]
        seen |= ids
    return waiting[:_AT_ONCE]
