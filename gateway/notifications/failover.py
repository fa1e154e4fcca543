"""Subscription failover: which watcher of a named subscription is active, and which stand by."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.ports import Lease, SubscriptionLeases

__all__ = ["SubscriptionWatcher", "SubscriptionWatchers", "cut_short"]


def cut_short(wait: asyncio.Timeout) -> None:
    """End a wait now."""
    # An expired wait cannot be rescheduled; its task is about to run anyway.
    if not wait.expired():
        wait.reschedule(asyncio.get_running_loop().time())


class SubscriptionWatcher:
    """A watcher in its gateway's queue for a named subscription."""

    def __init__(self, leases: SubscriptionLeases, issuer_id: str, name: str) -> None:
        """Use `SubscriptionWatchers.take`."""
        self.is_first = asyncio.Event()
        """Set once the watcher is first in its gateway's queue."""
        self.wait: asyncio.Timeout | None = None
        """The active watcher's current wait, which ends when it loses the lease."""
        self._leases = leases
        self._subscription = issuer_id, name
        self._lease: Lease | None = None
        self._has_tried = False

    @property
    def fencing_token(self) -> int:
        """The fencing token of the latest lease; 0 before the first."""
        return 0 if self._lease is None else self._lease.fencing_token

    def is_active(self) -> bool:
        """Return whether this is the active watcher of all gateways. Call this right before each message."""
        return self._lease is not None and self._lease.is_held()

    async def advance(self) -> bool:
        """Become the active watcher, if it is first in its queue and no other gateway has the lease.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE.
        """
        if not self.is_first.is_set():
            return False
        self._has_tried = True
        self._lease = await self._leases.acquire(*self._subscription, self._lose)
        return self._lease is not None

    async def wait_turn(self) -> None:
        """Wait until `advance` may succeed."""
        await self.is_first.wait()
        if self._has_tried:
            await self._leases.wait_free(*self._subscription)

    def _lose(self) -> None:
        if self.wait is not None:
            cut_short(self.wait)


class SubscriptionWatchers:
    """The watchers of this gateway by named subscription, in order of arrival.

    The first of each queue competes with those of other gateways; the next one takes over from it.
    """

    def __init__(self, leases: SubscriptionLeases) -> None:
        self._leases = leases
        self._waiting: defaultdict[tuple[str, str], list[SubscriptionWatcher]] = defaultdict(list)
        self._closed = False

    @contextmanager
    def take(self, issuer_id: str, name: str) -> Iterator[SubscriptionWatcher]:
        """Queue a watcher while the context lasts."""
        queue = self._waiting[issuer_id, name]
        watcher = SubscriptionWatcher(self._leases, issuer_id, name)
        queue.append(watcher)
        self._announce(issuer_id, name)
        try:
            yield watcher
        finally:
            queue.remove(watcher)
            self._announce(issuer_id, name)
            if not queue:
                del self._waiting[issuer_id, name]

    def close(self) -> None:
        """Let other gateways take over at once, because the watchers here are about to end."""
        self._closed = True
        for subscription in self._waiting:
            self._announce(*subscription)

    def has_active(self, issuer_id: str, name: str) -> bool:
        """Return whether the active watcher of a subscription is at this gateway."""
        return any(watcher.is_active() for watcher in self._waiting.get((issuer_id, name), ()))

    @property
    def standby(self) -> int:
        """The number of standby watchers, over all subscriptions."""
        return sum(not watcher.is_active() for queue in self._waiting.values() for watcher in queue)

    def _announce(self, issuer_id: str, name: str) -> None:
        queue = self._waiting[issuer_id, name]
        if queue:
            queue[0].is_first.set()
        self._leases.set_watchers(issuer_id, name, 0 if self._closed else len(queue))
