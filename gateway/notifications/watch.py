"""Watching: heartbeats, batches and named subscriptions."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from gateway.errors import GatewayError
from gateway.notifications import batch_encoding, cursor
from gateway.notifications.batch_cache import BatchCache, Page, Wanted
from gateway.notifications.failover import SubscriptionWatcher, SubscriptionWatchers, cut_short
from gateway.notifications.filter import Predicate
from gateway.notifications.tail_cache import TailCache
from gateway.ports import EventLog, Scope, SubscriptionLeases
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Start", "Watch", "Watchers"]

_SCAN = 1000
_ACTIVE = batch_encoding.standing(notification.WATCHER_ROLE_ACTIVE)
_STANDBY = batch_encoding.standing(notification.WATCHER_ROLE_STANDBY)


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


@dataclass(frozen=True, slots=True)
class Watch:
    """What a watcher asked for."""

    start: Start
    wants: Predicate
    max_batch_size: int
    heartbeat_seconds: float
    scope: Scope | None = None
    """All that it may want; None for everything."""


class _View:
    """A log under one of its identities, and what of it is held in memory for all who watch it."""

    def __init__(self, log: EventLog) -> None:
        self.log_id = log.log_id
        self.tail = TailCache(log)
        self.pages = BatchCache(log.log_id)

    def message(self, after: int, stands: bytes) -> bytes:
        """Return a message that tells a place, and nothing else."""
        return batch_encoding.batch(self.log_id, (), after, stands)


class Watchers:
    """Serves every watch of a process."""

    def __init__(self, log: EventLog, leases: SubscriptionLeases) -> None:
        self._log = log
        self._leases = leases
        self._newest_view = _View(log)
        self._waits: set[asyncio.Timeout] = set()
        self._draining = False
        self.failover = SubscriptionWatchers(leases)
        self.delivered_count = 0
        """How many notifications were handed to streams, once for each stream."""

    def drain(self) -> None:
        """End every watch, present and future, with SERVER_DRAINING."""
        self._draining = True
        self.failover.close()
        for wait in self._waits:
            cut_short(wait)

    def counts(self, issuer_id: str) -> Mapping[str, int]:
        """Tell how many watchers an issuer's subscriptions have by name, at all gateways; without those of none."""
        return self._leases.watchers(issuer_id)

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
        with self.failover.take(issuer_id, name) as watcher:
            place = await self._place(watch.start, issuer_id, name)
            view = self._view()
            is_active = await watcher.advance()
            while True:
                while not is_active:
                    self._check_view(view)
                    yield view.message(place, _STANDBY)
                    is_active = await self._wait(watcher.wait_turn, watch.heartbeat_seconds) and await watcher.advance()
                # Whoever was active may have committed since.
                place = await self._place(watch.start, issuer_id, name)
                view = self._view()
                async with aclosing(self._follow(watch, place, watcher)) as messages:
                    async for message in messages:
                        # Nothing may come between this and handing the message over: the process may have been
                        # stopped at any moment until now, and another gateway's watcher be the active one.
                        if not watcher.is_active():
                            break
                        yield message
                is_active = False

    async def _place(self, start: Start, issuer_id: str, name: str) -> int:
        """Tell where a subscription stands; one that is new stands where its first watch begins."""
        subscription = await self._log.get_subscription(issuer_id, name)
        if subscription is None:
            first = await start.sequence(self._log)
            subscription = await self._log.commit(issuer_id, name, first, time.time_ns() // 1_000_000)
        return subscription.committed

    async def _follow(
        self, watch: Watch, after: int, watcher: SubscriptionWatcher | None = None
    ) -> AsyncGenerator[bytes, None]:
        # Nothing was waited for since the place was found: it is one of this view's.
        view = self._view()
        clock = asyncio.get_running_loop().time
        stands = (
            _ACTIVE if watcher is None else batch_encoding.standing(notification.WATCHER_ROLE_ACTIVE, watcher.fence)
        )
        bounds = await self._log.bounds()
        self._check_view(view)
        cursor.check_kept(after, view.log_id, bounds)
        yield view.message(after, stands)
        wanted = Wanted(watch.wants, watch.max_batch_size, stands)
        silent_since = clock()
        while True:
            self._check_open()
            self._check_view(view)
            page = view.pages.find(after, wanted) or await self._page(view, after, wanted, watch.scope)
            for size, message in page.messages:
                self.delivered_count += size
                yield message
                silent_since = clock()
            after = page.through
            # Else every watcher would hold its last one for as long as nothing comes.
            del page
            left = silent_since + watch.heartbeat_seconds - clock()
            if left <= 0 or not await self._wait(partial(self._log.wait_beyond, after), left, watcher):
                self._check_view(view)
                yield view.message(after, stands)
                silent_since = clock()

    async def _page(self, view: _View, after: int, wanted: Wanted, scope: Scope | None) -> Page:
        events, through, bounds = await view.tail.read(after, _SCAN, scope)
        self._check_view(view)
        cursor.check_kept(after, view.log_id, bounds)
        return view.pages.find(after, wanted) or view.pages.make(after, wanted, events, through)

    def _view(self) -> _View:
        if self._newest_view.log_id != self._log.log_id:
            self._newest_view = _View(self._log)
        return self._newest_view

    def _check_view(self, view: _View) -> None:
        if self._log.log_id != view.log_id:
            raise GatewayError(
                error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE,
                "The event log goes on under a new identity, without its newest notifications: open the stream again.",
                retry_after_seconds=0.0,
            )

    async def _wait(
        self, happening: Callable[[], Awaitable[object]], seconds: float, watcher: SubscriptionWatcher | None = None
    ) -> bool:
        """Wait for something; tell whether it happened in time, and before the watcher's lease was lost."""
        self._check_open()
        if watcher is not None and not watcher.is_active():
            return False
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._waits.add(limit)
                if watcher is not None:
                    watcher.wait = limit
                await happening()
        except TimeoutError:
            self._check_open()
            return False
        finally:
            self._waits.discard(limit)
            if watcher is not None:
                watcher.wait = None
        return True

    def _check_open(self) -> None:
        if self._draining:
            raise GatewayError(
                error_pb2.ERROR_REASON_SERVER_DRAINING,
                "This instance is shutting down: open the stream again after the last cursor.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
                retry_after_seconds=0.0,
            )
