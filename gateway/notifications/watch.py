"""Watches: batches, heartbeats and named subscriptions."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from gateway.errors import GatewayError
from gateway.notifications import batch_encoding, cursor
from gateway.notifications.batch_cache import BatchCache, Batches, Selection
from gateway.notifications.failover import SubscriptionWatcher, SubscriptionWatchers, cut_short
from gateway.notifications.filter import Predicate
from gateway.notifications.start import Start
from gateway.notifications.subscriptions import Subscriptions
from gateway.notifications.tail_cache import TailCache
from gateway.ports import EventDamagedError, EventLog, Payloads, Scope, SubscriptionLeases
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Watch", "Watchers"]

_READ_SIZE = 1000
_ACTIVE = batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE)
_STANDBY = batch_encoding.watcher_fields(notification.WATCHER_ROLE_STANDBY)


@dataclass(frozen=True, slots=True)
class Watch:
    """The request of a watcher."""

    start: Start
    wants: Predicate
    max_batch_size: int
    heartbeat_seconds: float
    scope: Scope | None = None
    """A superset of what `wants` accepts; None for everything."""
    whole_issuer: str | None = None
    """The issuer, if `wants` accepts all of its events; None otherwise."""


class _Epoch:
    """An event log under one id, with the caches that all its watchers share."""

    def __init__(self, log: EventLog) -> None:
        self.log_id = log.log_id
        self.tail = TailCache(log)
        self.batches = BatchCache(log.log_id)

    def heartbeat(self, after: int, watcher_fields: bytes) -> bytes:
        return batch_encoding.batch(self.log_id, (), (), after, watcher_fields)


class Watchers:
    """Serves every watch of a process."""

    def __init__(self, log: EventLog, leases: SubscriptionLeases) -> None:
        self._log = log
        self._leases = leases
        self._latest_epoch = _Epoch(log)
        self._waits: set[asyncio.Timeout] = set()
        self._is_draining = False
        self.failover = SubscriptionWatchers(leases)
        self.subscriptions = Subscriptions(log, leases)
        self.delivered_count = 0
        """The number of notifications handed to streams, once per stream."""

    def drain(self) -> None:
        """End every watch, present and future, with SERVER_DRAINING."""
        self._is_draining = True
        self.failover.close()
        for wait in self._waits:
            cut_short(wait)

    def counts(self, issuer_id: str) -> Mapping[str, int]:
        """Return the number of watchers at all gateways by subscription, without those that have none."""
        return self._leases.watchers(issuer_id)

    async def watch(self, watch: Watch) -> AsyncGenerator[bytes, None]:
        """Yield serialised batches and heartbeats until an error ends the watch.

        Raises:
            GatewayError: CURSOR_UNKNOWN, CURSOR_EXPIRED, EVENT_DAMAGED, SERVER_DRAINING or EVENT_LOG_UNAVAILABLE.
        """
        self._check_open()
        async for message in self._follow(watch, await watch.start.sequence(self._log)):
            yield message

    async def watch_subscription(self, watch: Watch, issuer_id: str, name: str) -> AsyncGenerator[bytes, None]:
        """Watch a named subscription from its cursor, and stand by while another watcher is active; see `watch`.

        Only the first watch of a subscription may have a start of its own.

        Raises:
            GatewayError: SUBSCRIPTION_STARTED, and as `watch`.
        """
        self._check_open()
        with self.failover.take(issuer_id, name) as watcher:
            position = await self.subscriptions.begin(issuer_id, name, watch.start)
            epoch = self._epoch()
            is_active = await watcher.advance()
            while True:
                while not is_active:
                    self._check_epoch(epoch)
                    yield epoch.heartbeat(position, _STANDBY)
                    is_active = await self._wait(watcher.wait_turn, watch.heartbeat_seconds) and await watcher.advance()
                # The watcher that was active may have committed in the meantime.
                position = await self.subscriptions.activate(issuer_id, name, watch.start, watcher.fencing_token)
                epoch = self._epoch()
                async with aclosing(self._follow(watch, position, watcher)) as messages:
                    async for message in messages:
                        # Nothing may run between this check and the hand-over: until here the process may have been
                        # stopped at any moment, and another gateway's watcher may have become active.
                        if not watcher.is_active():
                            break
                        yield message
                is_active = False

    async def _follow(
        self, watch: Watch, after: int, watcher: SubscriptionWatcher | None = None
    ) -> AsyncGenerator[bytes, None]:
        # Nothing was awaited since the position was found, so it belongs to this epoch.
        epoch = self._epoch()
        clock = asyncio.get_running_loop().time
        fields = _ACTIVE
        if watcher is not None:
            fields = batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE, watcher.fencing_token)
        bounds = await self._log.bounds()
        self._check_epoch(epoch)
        cursor.check_kept(after, epoch.log_id, bounds)
        yield epoch.heartbeat(after, fields)
        selection = Selection(watch.wants, watch.max_batch_size, fields)
        silent_since = clock()
        while True:
            self._check_open()
            self._check_epoch(epoch)
            found = epoch.batches.find(after, selection) or await self._batches(epoch, after, selection, watch)
            for size, message in found.batches:
                self.delivered_count += size
                yield message
                silent_since = clock()
            after = found.through
            # Otherwise every watcher holds its last batches until new ones come.
            del found
            left = silent_since + watch.heartbeat_seconds - clock()
            if left <= 0 or not await self._wait(partial(self._log.wait_beyond, after), left, watcher):
                self._check_epoch(epoch)
                yield epoch.heartbeat(after, fields)
                silent_since = clock()

    async def _batches(self, epoch: _Epoch, after: int, selection: Selection, watch: Watch) -> Batches:
        try:
            if watch.whole_issuer is None:
                found = Payloads.of(await epoch.tail.read(after, _READ_SIZE, watch.scope), watch.wants)
            else:
                found = await epoch.tail.read_payloads(after, _READ_SIZE, watch.whole_issuer)
        except EventDamagedError as error:
            self._check_epoch(epoch)
            if error.is_skipped:
                raise cursor.left_out(error.sequence, epoch.log_id) from error
            raise
        self._check_epoch(epoch)
        cursor.check_kept(after, epoch.log_id, found.bounds)
        return epoch.batches.find(after, selection) or epoch.batches.make(after, selection, found)

    def _epoch(self) -> _Epoch:
        if self._latest_epoch.log_id != self._log.log_id:
            self._latest_epoch = _Epoch(self._log)
        return self._latest_epoch

    def _check_epoch(self, epoch: _Epoch) -> None:
        if self._log.log_id != epoch.log_id:
            raise GatewayError(
                error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE,
                "The event log has a new epoch, without its newest notifications; open the stream again.",
                retry_after_seconds=0.0,
            )

    async def _wait(
        self, wait_for: Callable[[], Awaitable[object]], seconds: float, watcher: SubscriptionWatcher | None = None
    ) -> bool:
        """Wait for something; return whether it happened in time and before the watcher lost its lease."""
        self._check_open()
        if watcher is not None and not watcher.is_active():
            return False
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._waits.add(limit)
                if watcher is not None:
                    watcher.wait = limit
                await wait_for()
        except TimeoutError:
            self._check_open()
            return False
        finally:
            self._waits.discard(limit)
            if watcher is not None:
                watcher.wait = None
        return True

    def _check_open(self) -> None:
        if self._is_draining:
            raise GatewayError(
                error_pb2.ERROR_REASON_SERVER_DRAINING,
                "Server draining; reconnect with the last cursor.",
                outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
                retry_after_seconds=0.0,
            )
