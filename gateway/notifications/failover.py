"""Who of a named subscription's watchers is active, and who stands by."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.ports import Lease, SubscriptionLeases

__all__ = ["SubscriptionWatcher", "SubscriptionWatchers", "cut_short"]


def cut_short(wait: asyncio.Timeout) -> None:
    """Let a wait run out now."""
    # One that has run out but not returned yet cannot be moved, and looks for itself.
    if not wait.expired():
        wait.reschedule(asyncio.get_running_loop().time())


class SubscriptionWatcher:
    """A watcher's place in its gateway's queue for a named subscription."""

    def __init__(self, leases: SubscriptionLeases, issuer_id: str, name: str) -> None:
        """Use `SubscriptionWatchers.take`."""
        self.is_first = asyncio.Event()
        """Whether nobody else of this gateway comes before."""
        self.wait: asyncio.Timeout | None = None
        """What the watcher waits for while it is active; ends when it no longer is."""
        self._leases = leases
        self._subscription = issuer_id, name
        self._lease: Lease | None = None
        self._has_tried = False

    @property
    def fence(self) -> int:
        """The fence of what it is granted; 0 before."""
        return 0 if self._lease is None else self._lease.fence

    def is_active(self) -> bool:
        """Tell whether it is the active one of all gateways' watchers. To be asked right before each message."""
        return self._lease is not None and self._lease.is_held()

    async def advance(self) -> bool:
        """Become the active one, if it is its turn and no other gateway's watcher is.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE.
        """
        if not self.is_first.is_set():
            return False
        self._has_tried = True
        self._lease = await self._leases.acquire(*self._subscription, self._lose)
        return self._lease is not None

    async def wait_turn(self) -> None:
        """Wait until there is a point in trying to advance."""
        await self.is_first.wait()
        if self._has_tried:
            await self._leases.wait_free(*self._subscription)

    def _lose(self) -> None:
        if self.wait is not None:
            cut_short(self.wait)


class SubscriptionWatchers:
    """Who of this gateway watches which named subscription, in the order of coming.

    The first of each queue competes with those of the other gateways; who is behind it takes over from it.
    """

    def __init__(self, leases: SubscriptionLeases) -> None:
        self._leases = leases
        self._waiting: defaultdict[tuple[str, str], list[SubscriptionWatcher]] = defaultdict(list)
        self._closed = False

    @contextmanager
    def take(self, issuer_id: str, name: str) -> Iterator[SubscriptionWatcher]:
        """Take a watcher for as long as the context lasts."""
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
        """Let other gateways take over at once: whoever sits here leaves soon."""
        self._closed = True
        for subscription in self._waiting:
            self._announce(*subscription)

    @property
    def standby(self) -> int:
        """How many watchers stand by, at all subscriptions."""
        return sum(not watcher.is_active() for queue in self._waiting.values() for watcher in queue)

    def _announce(self, issuer_id: str, name: str) -> None:
        queue = self._waiting[issuer_id, name]
        if queue:
            queue[0].is_first.set()
        self._leases.set_watchers(issuer_id, name, 0 if self._closed else len(queue))
