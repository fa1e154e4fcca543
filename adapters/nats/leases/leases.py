"""Leases of named subscriptions: which gateway has the active watcher.

A subscription's lease is an entry with the session of the gateway that holds it, and the fencing token. A gateway takes
it by a compare-and-set on the entry's revision, so one of several succeeds, and only if it is free: released, or its
session has ended (`adapters.nats.leases.session` explains why nobody uses the lease then).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import structlog

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import EVENT_LOG, NatsError
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.streams import token
from adapters.nats.leases.peer_sessions import PeerSessions
from adapters.nats.leases.session import OwnSession, Session
from gateway.aio.clock import wall_clock_ms

__all__ = ["NatsLeases"]

_FREE: Final = "-"
"""The session id in the entry of a lease that nobody holds."""
_CHECK_SECONDS: Final = 3.0
"""Interval between checks for leases that were released unnoticed."""
_log = structlog.get_logger(__name__)


class _Lease:
    """Lasts until it is released, replaced or lost, and at most as long as its session is valid."""

    def __init__(self, fencing_token: int, session: Session, on_loss: Callable[[], None]) -> None:
        self.fencing_token = fencing_token
        self.has_ended = False
        self.on_loss = on_loss
        self._session = session

    def is_held(self) -> bool:
        return not self.has_ended and self._session.is_valid()


class _Record(NamedTuple):
    """The entry of a lease."""

    session_id: str
    fencing_token: int
    revision: int


@dataclass(slots=True, eq=False)
class _Subscription:
    """A subscription that this gateway has, or had, watchers of."""

    issuer_id: str
    name: str
    key: str
    """The key of the lease's entry."""
    watchers: int = 0
    lease: _Lease | None = None
    last_record: _Record | None = None
    """The entry before or after our last change, whichever is known; None if the lease is surely not ours."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while changing the entry."""
    may_be_free: asyncio.Event = field(default_factory=asyncio.Event)

    def is_watched(self) -> bool:
        return self.watchers > 0

    def end_lease(self) -> None:
        if self.lease is not None:
            self.lease.has_ended = True
            self.lease = None


class NatsLeases:
    """`gateway.ports.SubscriptionLeases` in a bucket that all gateways share.

    A fencing token exceeds the previous one, which the entry keeps while the lease is free. The clock sets its lower
    bound, so it also grows when the bucket is lost, or when an event log moves between engines.
    """

    def __init__(self, bucket: Bucket, now_ms: Callable[[], int]) -> None:
        """Use `open`."""
        self._bucket = bucket
        self._now_ms = now_ms
        self._own = OwnSession(bucket, self._renewal, self._wake_waiting, self._lose)
        self._peers = PeerSessions(bucket, self._wake_waiting)
        self._subscriptions: dict[str, _Subscription] = {}
        """By the keys of their leases, until these are released."""
        self._renewal_count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, connection: Connection, bucket: str, *, now_ms: Callable[[], int] = wall_clock_ms) -> Self:
        """Begin a session and follow those of peers. Close it with `close`, before the connection.

        Args:
            connection: The connection to NATS.
            bucket: The name of an existing bucket.
            now_ms: The wall clock, in milliseconds since 1970 (UTC).

        Raises:
            NatsError: NATS does not respond.
        """
        leases = cls(Bucket(connection, bucket), now_ms)
        # Before loading the present sessions, so that no renewal is missed in between.
        subscription = await connection.subscribe(f"$KV.{bucket}.>", leases._receive)
        try:
            await leases._peers.load()
        except BaseException:
            await connection.unsubscribe(subscription)
            raise
        connection.on_change(leases._connection_changed)
        await leases._own.renew()
        for each in (leases._own.run(), leases._peers.run(), leases._check_regularly()):
            leases._start(each)
        return leases

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        """Note this process's number of watchers. Without any, release the lease at once."""
        key = _lease_key(issuer_id, name)
        if count:
            self._subscriptions.setdefault(key, _Subscription(issuer_id, name, key)).watchers = count
        elif key in self._subscriptions:
            subscription = self._subscriptions[key]
            subscription.watchers = 0
            subscription.end_lease()
            self._start(self._release(subscription))
        self._own.renew_soon()

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> _Lease | None:
        """Try to acquire the lease; None if a peer holds it, NATS does not respond, or all watchers have left."""
        subscription = self._subscriptions.get(_lease_key(issuer_id, name))
        return None if subscription is None else await self._acquire(subscription, on_loss)

    async def wait_free(self, issuer_id: str, name: str) -> None:
        """Wait until the lease may be free."""
        subscription = self._subscriptions.get(_lease_key(issuer_id, name))
        if subscription is not None:
            await subscription.may_be_free.wait()

    async def is_taken(self, issuer_id: str, name: str) -> bool:
        """Return whether this gateway or a peer holds the lease."""
        key = _lease_key(issuer_id, name)
        own = self._subscriptions.get(key)
        if own is not None and own.lease is not None and own.lease.is_held():
            return True
        with EVENT_LOG.translated():
            return not await self._is_free(await self._find(key))

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        """Return the number of watchers of an issuer's subscriptions by name, at all gateways, without zeros."""
        sums = {each.name: each.watchers for each in self._subscriptions.values() if each.issuer_id == issuer_id}
        for renewal in self._peers.renewals():
            for issuer, name, count in _parse_watchers(renewal):
                if issuer == issuer_id:
                    sums[name] = sums.get(name, 0) + count
        return {name: count for name, count in sums.items() if count}

    async def close(self) -> None:
        """Release all leases by ending the session."""
        for subscription in self._subscriptions.values():
            subscription.end_lease()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._own.end()

    # -------------------------------------------------------------------------------------------- leases

    async def _acquire(self, subscription: _Subscription, on_loss: Callable[[], None]) -> _Lease | None:
        async with subscription.lock:
            subscription.may_be_free.clear()
            session = self._own.session
            try:
                found = await self._find(subscription.key)
                if not (subscription.is_watched() and session.is_valid() and await self._is_free(found)):
                    return None
                subscription.end_lease()
                subscription.last_record = found
                fencing_token = max(found.fencing_token + 1, self._now_ms())
                record = await self._write(subscription, session.session_id, fencing_token, found.revision)
            except NatsError:
                return None
            if record is None:
                subscription.may_be_free.set()
                return None
            subscription.last_record = record
            lease = _Lease(record.fencing_token, session, on_loss)
            if not (subscription.is_watched() and lease.is_held()):
                subscription.may_be_free.set()
                return None
            subscription.lease = lease
            return lease

    async def _release(self, subscription: _Subscription) -> None:
        async with subscription.lock:
            if subscription.is_watched():
                return
            try:
                # A change that acquires the lease may still arrive late, without a response or after a cancellation.
                # This change then follows it, or makes it fail.
                while (record := subscription.last_record) is not None:
                    if await self._write(subscription, _FREE, record.fencing_token, record.revision) is None:
                        found = await self._find(subscription.key)
                        subscription.last_record = found if found.session_id == self._own.session.session_id else None
                    else:
                        subscription.last_record = None
            except NatsError:
                return  # The next check retries.
            # A watcher may have arrived meanwhile.
            if not subscription.is_watched() and self._subscriptions.get(subscription.key) is subscription:
                del self._subscriptions[subscription.key]

    async def _find(self, key: str) -> _Record:
        entry = await self._bucket.get(key)
        if entry is None:
            return _Record(_FREE, 0, 0)
        session_id, fencing_token = entry.value.decode().split(" ")[:2]
        return _Record(session_id, int(fencing_token), entry.revision)

    async def _write(
        self, subscription: _Subscription, session_id: str, fencing_token: int, expected: int
    ) -> _Record | None:
        value = f"{session_id} {fencing_token}".encode()
        revision = await self._bucket.put(subscription.key, value, expected=expected)
        return None if revision is None else _Record(session_id, fencing_token, revision)

    async def _is_free(self, record: _Record) -> bool:
        return record.session_id in (_FREE, self._own.session.session_id) or await self._peers.has_ended(
            record.session_id
        )

    # ------------------------------------------------------------------------------------------ sessions

    def _renewal(self) -> bytes:
        self._renewal_count += 1
        watched = (each for each in self._subscriptions.values() if each.watchers)
        lines = (f"{each.issuer_id} {each.name} {each.watchers}" for each in watched)
        return "\n".join((str(self._renewal_count), *lines)).encode()

    def _receive(self, message: Msg) -> None:
        _, _, kind, rest = message.subject.split(".", 3)
        if kind == "lease":
            subscription = self._subscriptions.get(f"lease.{rest}")
            if subscription is not None and message.data.startswith(_FREE.encode()):
                subscription.may_be_free.set()
        elif rest != self._own.session.session_id:
            self._peers.receive(rest, message.data)

    def _connection_changed(self, is_connected: bool) -> None:  # noqa: FBT001  the connection's interface
        if is_connected:
            self._peers.restart_timers()
            self._wake_waiting()

    def _wake_waiting(self) -> None:
        for subscription in self._subscriptions.values():
            subscription.may_be_free.set()

    def _lose(self) -> None:
        lost = [each.lease for each in self._subscriptions.values() if each.lease is not None]
        if lost:
            _log.warning("subscription_leases_lost", count=len(lost))
        self._wake_waiting()
        for subscription in self._subscriptions.values():
            subscription.end_lease()
        for lease in lost:
            lease.on_loss()

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            for subscription in list(self._subscriptions.values()):
                if not subscription.is_watched():
                    await self._release(subscription)
                elif subscription.lease is None and not subscription.lock.locked():
                    await self._check(subscription)

    async def _check(self, subscription: _Subscription) -> None:
        try:
            if await self._is_free(await self._find(subscription.key)):
                subscription.may_be_free.set()
        except NatsError:
            pass

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _lease_key(issuer_id: str, name: str) -> str:
    return f"lease.{token(issuer_id)}.{token(name)}"


def _parse_watchers(renewal: bytes) -> Iterator[tuple[str, str, int]]:
    for line in renewal.decode().splitlines()[1:]:
        issuer_id, name, count = line.split(" ")[:3]
        yield issuer_id, name, int(count)
