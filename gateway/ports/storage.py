"""What a storage engine provides: the event log, a key-value store, leases of subscriptions."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from gateway.ports.event_log import EventLog

__all__ = ["Engine", "KeyValueStore", "Lease", "Storage", "SubscriptionLeases"]


class Engine(StrEnum):
    """Where an event log is."""

    SQLITE = "sqlite"
    """In the file that `event_log.path` names."""
    NATS = "nats"
    """At the servers that `[nats]` names."""


class KeyValueStore(Protocol):
    """Small values that are on disk when a write returns, and gone when their time is over.

    Every method raises `gateway.errors.GatewayError` with STORE_UNAVAILABLE when the storage fails.
    """

    async def get(self, key: str) -> bytes | None:
        """Get a value; None if there is none, or none any more."""
        ...

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        """Store a value unless there is one. Of several that try at the same time, one succeeds.

        Returns:
            None if it was stored; otherwise the value that stands.
        """
        ...

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value, whatever stood there."""
        ...

    async def delete(self, key: str, value: bytes) -> None:
        """Forget a value if it still stands; that there is none, or another one, is no failure.

        Where this raises or is cancelled it may be done all the same, and late: even then what has taken the value's
        place stays, unless it is the same again.
        """
        ...


class Lease(Protocol):
    """The right of this process to have the active watcher of a named subscription."""

    @property
    def fence(self) -> int:
        """More than in every earlier lease of the subscription, whichever process had it, over restarts too."""
        ...

    def is_held(self) -> bool:
        """Tell whether the right still stands; once it does not, it never does again.

        Waits for nothing and asks nobody, so that nothing comes between the answer and what is done upon it. No other
        process is granted the subscription before this says no, however long this one was held up.
        """
        ...


class SubscriptionLeases(Protocol):
    """Which of several gateways has the active watcher of a named subscription, and how many watchers each has.

    The watchers that a gateway has of one subscription share its lease: one of them at a time asks for it.
    """

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        """Note how many watchers this process has, before the first one asks for the lease.

        If there are none any more, the lease is given back at once.
        """
        ...

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> Lease | None:
        """Try to get the lease. One that this process has is replaced, by one with a larger fence.

        Args:
            issuer_id: The subscription's issuer.
            name: The subscription's name.
            on_loss: Called when the lease is lost; not when it is given back or replaced.

        Returns:
            None if another process has it, if nobody can tell, or if all watchers of this process left meanwhile.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE, where nothing is to be had without the storage.
        """
        ...

    async def wait_free(self, issuer_id: str, name: str) -> None:
        """Wait until there is a point in trying again."""
        ...

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        """Tell how many watchers an issuer's subscriptions have by name, at all gateways; without those of none."""
        ...


class Storage(Protocol):
    """What both engines have."""

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
        """Who watches named subscriptions."""
        ...

    def size_bytes(self) -> int:
        """Tell how much space the log takes, as of when its bounds were looked at last.

        Raises:
            OSError: It cannot be told.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun, then let go."""
        ...
