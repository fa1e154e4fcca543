"""Watching: heartbeats, batches, named subscriptions and who of their watchers is active."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from gateway import cursor, wire
from gateway.errors import GatewayError
from gateway.filtering import Predicate
from gateway.ports import EventLog, StoredEvent
from gateway.tail import Tail
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Seats", "Start", "Watch", "Watchers"]

_SCAN = 1000
# A watcher that does not take its batch has it held for it, here and once more by gRPC. Far below the 4 MiB that a
# client takes unless told otherwise; a single notification stays below as well.
_BATCH_BYTES = 262_144
_ACTIVE = notification.WATCHER_ROLE_ACTIVE
_STANDBY = notification.WATCHER_ROLE_STANDBY


@dataclass(frozen=True, slots=True)
class Start:
    """Where a watch begins: after a cursor, at a time, or at one of the log's ends."""

    after_cursor: str | None = None
    since_ms: int | None = None
    earliest: bool = False

    async def sequence(self, log: EventLog) -> int:
        """Return the sequence to read after.

        Raises:
            GatewayError: CURSOR_UNKNOWN.
        """
        bounds = await log.bounds()
        if self.after_cursor is not None:
            return cursor.parse(self.after_cursor, log.log_id, bounds)
        if self.since_ms is not None:
            return max(bounds.trimmed_through, await log.sequence_before(self.since_ms))
        return bounds.trimmed_through if self.earliest else bounds.last


class _Seat:
    """A watcher's place at a named subscription."""

    def __init__(self) -> None:
        self.active = asyncio.Event()


class Seats:
    """Who watches which named subscription: the first to come is active, the others stand by in their order."""

    def __init__(self) -> None:
        self._taken: defaultdict[tuple[str, str], list[_Seat]] = defaultdict(list)

    @contextmanager
    def take(self, issuer_id: str, name: str) -> Iterator[_Seat]:
        """Take a seat for as long as the context lasts."""
        row = self._taken[issuer_id, name]
        seat = _Seat()
        row.append(seat)
        row[0].active.set()
        try:
            yield seat
        finally:
            row.remove(seat)
            if row:
                row[0].active.set()
            else:
                del self._taken[issuer_id, name]

    @property
    def standby(self) -> int:
        """How many watchers stand by, at all subscriptions."""
        return sum(len(row) - 1 for row in self._taken.values() if row)

    def count(self, issuer_id: str, name: str) -> int:
        """Tell how many watchers a subscription has."""
        return len(self._taken.get((issuer_id, name), ()))


@dataclass(frozen=True, slots=True)
class Watch:
    """What a watcher asked for."""

    start: Start
    wants: Predicate
    max_batch_size: int
    heartbeat_seconds: float


class Watchers:
    """Serves every watch of a process."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._tail = Tail(log)
        self._waits: set[asyncio.Timeout] = set()
        self._draining = False
        self.seats = Seats()
        self.delivered_count = 0
        """How many notifications were handed to streams, once for each stream."""

    def drain(self) -> None:
        """End every watch, present and future, with SERVER_DRAINING."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            # One that has run out but not returned yet cannot be moved, and looks for itself.
            if not wait.expired():
                wait.reschedule(now)

    async def watch(self, watch: Watch) -> AsyncGenerator[bytes, None]:
        """Yield serialised batches and heartbeats; ends only by an error.

        Raises:
            GatewayError: CURSOR_UNKNOWN, CURSOR_EXPIRED, SERVER_DRAINING or EVENT_LOG_UNAVAILABLE.
        """
        self._check_open()
        async for message in self._follow(watch, await watch.start.sequence(self._log)):
            yield message

    async def watch_subscription(self, watch: Watch, issuer_id: str, name: str) -> AsyncGenerator[bytes, None]:
        """As `watch`, for a named subscription: goes on at its cursor, stands by while another watcher is active.

        The start that was asked for counts for the very first watch alone.
        """
        self._check_open()
        with self.seats.take(issuer_id, name) as seat:
            first = await self._place(watch.start, issuer_id, name)
            if not seat.active.is_set():
                yield self._message(first, _STANDBY)
                while not await self._wait(seat.active.wait, watch.heartbeat_seconds):
                    yield self._message(first, _STANDBY)
                # Whoever was active may have committed since.
                first = await self._place(watch.start, issuer_id, name)
            async for message in self._follow(watch, first):
                yield message

    async def _place(self, start: Start, issuer_id: str, name: str) -> int:
        """Tell where a subscription stands; one that is new stands where its first watch begins."""
        subscription = await self._log.get_subscription(issuer_id, name)
        if subscription is None:
            first = await start.sequence(self._log)
            subscription = await self._log.commit(issuer_id, name, first, time.time_ns() // 1_000_000)
        return subscription.committed

    async def _follow(self, watch: Watch, after: int) -> AsyncGenerator[bytes, None]:
        clock = asyncio.get_running_loop().time
        await self._check_kept(after)
        yield self._message(after, _ACTIVE)
        silent_since = clock()
        while True:
            self._check_open()
            events = await self._tail.read(after, _SCAN)
            # Looked at after the read: what the read did not see was then not trimmed either.
            await self._check_kept(after)
            wanted = [stored for stored in events if watch.wants(stored.event)]
            for part in _batches(wanted, watch.max_batch_size):
                place = events[-1].sequence if part[-1] is wanted[-1] else part[-1].sequence
                self.delivered_count += len(part)
                yield wire.batch(self._log.log_id, part, place, _ACTIVE)
                silent_since = clock()
            if events:
                after = events[-1].sequence
            left = silent_since + watch.heartbeat_seconds - clock()
            if left <= 0 or not (events or await self._wait(partial(self._log.wait_beyond, after), left)):
                yield self._message(after, _ACTIVE)
                silent_since = clock()

    def _message(self, after: int, role: "notification.WatcherRole.ValueType") -> bytes:
        return wire.batch(self._log.log_id, (), after, role)

    async def _wait(self, happening: Callable[[], Awaitable[object]], seconds: float) -> bool:
        """Wait for something; tell whether it happened in time."""
        self._check_open()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._waits.add(limit)
                await happening()
        except TimeoutError:
            self._check_open()
            return False
        finally:
            self._waits.discard(limit)
        return True

    async def _check_kept(self, after: int) -> None:
        cursor.check_kept(after, self._log.log_id, await self._log.bounds())

    def _check_open(self) -> None:
        if self._draining:
            raise GatewayError(
                error_pb2.ERROR_REASON_SERVER_DRAINING,
                "This instance is shutting down: open the stream again after the last cursor.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
                retry_after_seconds=0.0,
            )


def _batches(events: Iterable[StoredEvent], most: int) -> Iterator[list[StoredEvent]]:
    batch: list[StoredEvent] = []
    size = 0
    for stored in events:
        length = len(stored.event.payload)
        if batch and (len(batch) == most or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(stored)
        size += length
    if batch:
        yield batch
