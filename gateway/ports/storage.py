"""The parts of a storage engine: event log, key-value store, leases of subscriptions."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from gateway.ports.event_log import EventLog, LogBounds, StoredSubscription

__all__ = [
    "LISTED_KEY",
    "Damage",
    "Engine",
    "KeyValueStore",
    "Lease",
    "ReportProgress",
    "Statistics",
    "Storage",
    "SubscriptionLeases",
]

ReportProgress: TypeAlias = Callable[[int, int], None]
"""Called now and then with what is done, and what there is to do, in the same unit."""


LISTED_KEY: Final = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64})+")
"""A key that `KeyValueStore.keys` lists."""


class Engine(StrEnum):
    """A storage engine."""

    SQLITE = "sqlite"
    """The file at `event_log.path`."""
    NATS = "nats"
    """The servers in `[nats]`."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What a storage no longer holds as it was stored."""

    events: Sequence[int]
    """Sequences of the damaged events that were not skipped."""
    skipped: Sequence[int]
    """Those that were."""
    others: Sequence[str]
    """Everything else, in words."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What an event log holds."""

    log_id: str
    """Its epoch."""
    schema: int | None
    """The version of the form in which the engine stores it; None if the engine has no such version."""
    bounds: LogBounds
    """Its range."""
    events: int
    """The number of its notifications."""
    size_bytes: int
    """The space that it takes."""
    oldest_ms: int | None
    """When its first notification was received, in milliseconds since 1970 (UTC); None if that is unknown."""
    newest_ms: int | None
    """The same of its last one."""
    subscriptions: Sequence[StoredSubscription]
    """The intact subscriptions, by issuer and name."""
    damaged_subscriptions: int
    """The number of the others."""


class KeyValueStore(Protocol):
    """Small values with a time to live, on disk when a write returns.

    Every method raises `gateway.errors.GatewayError` with STORE_UNAVAILABLE when the storage fails.
    """

    async def get(self, key: str) -> bytes | None:
        """Return a value; None if it does not exist or has expired."""
        ...

    async def wait(self, key: str, seconds: float) -> bytes | None:
        """Return a value as soon as it is stored, by any gateway; None if it is not in time.

        A value that exists only in between may be missed.
        """
        ...

    async def keys(self, prefix: str, *, after: str = "", limit: int | None = None) -> Sequence[str]:
        """List the keys below a prefix, in the order of their bytes.

        Only those that match `LISTED_KEY` are listed. An expired one may be listed for a second.

        Args:
            prefix: The tokens that they begin with, themselves joined by dots: ``a`` lists ``a.b`` and ``a.b.c``, not
                ``a`` or ``ab.c``.
            after: Only keys after this one.
            limit: The most to return; None for all. There are no more if fewer are returned. An engine may need as
                long for one as for all.
        """
        ...

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        """Store a value unless there is one. Of several concurrent calls, one succeeds.

        Returns:
            None if the value was stored; otherwise the existing value.
        """
        ...

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value, replacing any other."""
        ...

    async def delete(self, key: str, value: bytes) -> None:
        """Delete a key if it still has this value; otherwise do nothing.

        A call that raises or is cancelled may still take effect, even late. It never deletes a value that replaced this
        one, unless that is equal.
        """
        ...


class Lease(Protocol):
    """This process's right to run the active watcher of a named subscription."""

    @property
    def fencing_token(self) -> int:
        """Greater than the token of every earlier lease of the subscription, in all processes and over restarts."""
        ...

    def is_held(self) -> bool:
        """Return whether the lease is held; once lost, it stays lost.

        The check is local and immediate, so nothing comes between it and an action based on it. No other process gets
        the lease before this returns False, however long this process was suspended.
        """
        ...


class SubscriptionLeases(Protocol):
    """Leases that decide which gateway runs the active watcher of a named subscription; counts watchers, too.

    The watchers of a subscription at one gateway share its lease; one of them at a time acquires it.
    """

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        """Set this process's number of watchers, before the first one acquires the lease.

        At 0 the lease is released at once.
        """
        ...

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> Lease | None:
        """Try to acquire the lease. A lease that this process holds is replaced by one with a greater fencing token.

        Args:
            issuer_id: The subscription's issuer.
            name: The subscription's name.
            on_loss: Called when the lease is lost; not when it is released or replaced.

        Returns:
            None if another process holds the lease, if that cannot be determined, or if all watchers of this process
            have left.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE if the engine needs its storage for that.
        """
        ...

    async def wait_free(self, issuer_id: str, name: str) -> None:
        """Wait until another attempt makes sense."""
        ...

    async def is_taken(self, issuer_id: str, name: str) -> bool:
        """Return whether a process holds the lease, as of some moment during the call.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE if that cannot be determined.
        """
        ...

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        """Return the number of watchers at all gateways by an issuer's subscription; those without any are left out."""
        ...


class Storage(Protocol):
    """A storage engine's parts."""

    @property
    def log(self) -> EventLog:
        """The event log."""
        ...

    @property
    def key_value_store(self) -> KeyValueStore:
        """The key-value store."""
        ...

    @property
    def leases(self) -> SubscriptionLeases:
        """The leases of named subscriptions."""
        ...

    def size_bytes(self) -> int:
        """Return the event log's size, as of the last call of its `bounds`.

        Raises:
            OSError: The size is not available.
        """
        ...

    def free_bytes(self) -> int | None:
        """Return the space left on the event log's disk; None if it is on other machines.

        Raises:
            OSError: It is not available.
        """
        ...

    async def find_damage(self, report: ReportProgress | None = None) -> Damage:
        """Read everything, and return what is damaged.

        Args:
            report: Called with the sequences read, and those to read.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE.
        """
        ...

    async def renew_epoch(self) -> str:
        """Give the event log a new epoch, and return it. Subscriptions keep their places; other cursors are refused.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE. The epoch may have changed.
        """
        ...

    async def trim_through(self, sequence: int, report: ReportProgress | None = None) -> None:
        """Remove the events up to a sequence of the log, as retention would.

        Args:
            sequence: The last one to remove.
            report: Called with the events removed, and those to remove, at most; not if that takes no time.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE. Some may be removed.
        """
        ...

    async def close(self) -> None:
        """Complete pending work, then close."""
        ...
