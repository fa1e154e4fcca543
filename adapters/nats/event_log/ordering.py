"""Ordered appends of many events, with many in flight at the same time.

Each message states its required place in the stream, and the server stores it there or not at all. So if one is
rejected or lost, those after it are not stored either, unless another gateway's event takes the very place of the
missing one. Therefore no two events of the same card or consumer are in flight at the same time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError
from adapters.nats.event_log.envelope import headers_of, pack
from adapters.nats.event_log.reader import Reader
from adapters.nats.jetstream.jetstream import EXPECTED_LAST, is_transient, parse_ack
from adapters.nats.jetstream.streams import Names
from gateway.ports import Event, LogBounds

__all__ = ["Ordering"]

_EXPECTED_LAST_OF_ALL: Final = "Nats-Expected-Last-Sequence"
_MAX_IN_FLIGHT: Final = 256
"""Maximum events in flight. After a rejected one, the rest are sent in vain."""
_PAUSE_SECONDS: Final = 0.05


class Ordering:
    """Appends events in the given order.

    If other gateways append at the same time, the order holds for the events of each card and of each consumer.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        reader: Reader,
        read_bounds: Callable[[], Awaitable[LogBounds]],
        timeout_seconds: float,
        on_stored: Callable[[Event, int], None],
    ) -> None:
        """Prepare.

        Args:
            connection: The connection to NATS.
            names: The names of the stream and its subjects.
            reader: A reader of the same stream.
            read_bounds: Returns the stream's bounds.
            timeout_seconds: Time without a stored event after which an append fails.
            on_stored: Called with each stored event and its sequence.
        """
        self._connection = connection
        self._names = names
        self._reader = reader
        self._read_bounds = read_bounds
        self._timeout_seconds = timeout_seconds
        self._on_stored = on_stored

    async def append(self, events: Sequence[Event]) -> Sequence[bool]:
        """Append events. Returns for each whether it is new; False also if its response was lost.

        Raises:
            NatsError: Not all events are stored; the first ones may be.
        """
        are_new = [False] * len(events)
        pending: Sequence[int] = range(len(events))
        last: int | None = None
        # By index of an event that was compared with those of its subject (other states of its operation): the last of
        # their sequences.
        compared: dict[int, int] = {}
        deadline = time.monotonic() + self._timeout_seconds
        while pending:
            if last is None:
                last = (await self._read_bounds()).last
            window = _window(events, pending)
            errors = await self._put_all(events, window, last, compared)
            for index in window:
                are_new[index] = index not in errors
            # After an error the place is unknown: another gateway's event came in between, or one is a duplicate.
            last = None if errors else last + len(window)
            missing = await self._missing(events, errors, compared)
            if len(missing) < len(window):
                deadline = time.monotonic() + self._timeout_seconds
            elif time.monotonic() > deadline or not is_transient(errors[missing[0]]):
                raise errors[missing[0]]
            else:
                await asyncio.sleep(_PAUSE_SECONDS)
            pending = [*missing, *pending[len(window) :]]
        return are_new

    async def _put_all(
        self, events: Sequence[Event], indexes: Sequence[int], last: int, compared: Mapping[int, int]
    ) -> Mapping[int, NatsError]:
        """Store events after a sequence. Returns the errors of those not stored, or not known to be stored."""
        errors = await asyncio.gather(
            *(self._put(events[index], last + n, compared.get(index, 0)) for n, index in enumerate(indexes))
        )
        return {index: error for index, error in zip(indexes, errors, strict=True) if error is not None}

    async def _put(self, event: Event, last: int, last_of_subject: int) -> NatsError | None:
        content = pack(event)
        headers = {EXPECTED_LAST: str(last_of_subject), _EXPECTED_LAST_OF_ALL: str(last), **headers_of(event, content)}
        try:
            response = await self._connection.request(self._names.event(event), content, headers=headers)
            self._on_stored(event, parse_ack(response))
        except NatsError as error:
            return error
        return None

    async def _missing(
        self, events: Sequence[Event], errors: Mapping[int, NatsError], compared: dict[int, int]
    ) -> Sequence[int]:
        """Compare those with errors to what is stored. Returns those that are not."""
        found = await asyncio.gather(
            *(self._reader.look_up(events[index], self._names.event(events[index])) for index in errors)
        )
        compared.update(zip(errors, (last for _, last in found), strict=True))
        return [index for index, (is_held, _) in zip(errors, found, strict=True) if not is_held]


def _window(events: Sequence[Event], pending: Sequence[int]) -> Sequence[int]:
    """Return the first pending events, up to the first repetition of a card or a consumer."""
    seen: set[str] = set()
    for count, index in enumerate(pending[:_MAX_IN_FLIGHT]):
        ids = {events[index].subject_id, events[index].consumer_id} - {""}
        if not seen.isdisjoint(ids):
            return pending[:count]
        seen |= ids
    return pending[:_MAX_IN_FLIGHT]
