"""Which of several gateways has the active watcher of a named subscription.

A subscription's seat is an entry that names the session of the gateway that has it, and the fence of its lease. It is
taken by a change that names the one before it, so of several gateways one succeeds, and only where it is free: given
back, or its session ended (`adapters.nats.leases.session` says why nobody uses it then).
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import structlog

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import NatsError
from adapters.nats.connection.subjects import token
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.leases.peer_sessions import PeerSessions
from adapters.nats.leases.session import Life, OwnSession

__all__ = ["NatsLeases"]

_NOBODY: Final = "-"
_LOOK_SECONDS: Final = 3.0
"""How often is looked for seats that were given back without our hearing of it."""
_log = structlog.get_logger(__name__)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class _Lease:
    """Stands until it is given back, replaced or lost, and no longer than its session is valid."""

    def __init__(self, fencing_token: int, life: Life, on_loss: Callable[[], None]) -> None:
        self.fencing_token = fencing_token
        self.has_ended = False
        self.on_loss = on_loss
        self._life = life

    def is_held(self) -> bool:
        return not self.has_ended and self._life.is_valid()


class _Seat(NamedTuple):
    """What stands in a seat's entry."""

    session_id: str
    fence: int
    revision: int


@dataclass(slots=True, eq=False)
class _Place:
    """What we have to do with a subscription's seat."""

    issuer_id: str
    name: str
    key: str
    """Of the seat's entry."""
    watchers: int = 0
    lease: _Lease | None = None
    last: _Seat | None = None
    """What stood in the entry before our last change, or because of it; None if it surely is not ours."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by what changes the entry."""
    may_be_free: asyncio.Event = field(default_factory=asyncio.Event)

    def is_watched(self) -> bool:
        return self.watchers > 0

    def end_lease(self) -> None:
        if self.lease is not None:
            self.lease.has_ended = True
            self.lease = None


class NatsLeases:
    """`gateway.ports.SubscriptionLeases` in a bucket that all gateways share.

    A fence is more than the one before, which the seat's entry keeps also while nobody has it. The clock only says
    where it may not be below: so it also grows when the bucket is lost, or when an event log moves from one engine to
    another.
    """

    def __init__(self, bucket: Bucket, now_ms: Callable[[], int]) -> None:
        """Use `open`."""
        self._bucket = bucket
        self._now_ms = now_ms
        self._own = OwnSession(bucket, self._say, self._look_again, self._lose)
        self._others = PeerSessions(bucket, self._look_again)
        self._places: dict[str, _Place] = {}
        """By the keys of their seats: what we have or had watchers of, until all is given back."""
        self._said = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, connection: Connection, bucket: str, *, now_ms: Callable[[], int] = _wall_clock_ms) -> Self:
        """Take part. Close it with `close`, before the connection.

        Args:
            connection: The way to NATS.
            bucket: The name of the bucket, which is there already.
            now_ms: The wall clock, in milliseconds since 1970 (UTC).

        Raises:
            NatsError: NATS does not answer.
        """
        leases = cls(Bucket(connection, bucket), now_ms)
        # Before looking at what is there: nothing may be said in between.
        listening = await connection.subscribe(f"$KV.{bucket}.>", leases._hear)
        try:
            await leases._others.find()
        except BaseException:
            await connection.unsubscribe(listening)
            raise
        connection.on_change(leases._reconnected)
        await leases._own.renew()
        for each in (leases._own.run(), leases._others.run(), leases._look_regularly()):
            leases._begin(each)
        return leases

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        """Note how many watchers this process has; without any, give the seat back at once."""
        key = _seat_key(issuer_id, name)
        if count:
            self._places.setdefault(key, _Place(issuer_id, name, key)).watchers = count
        elif key in self._places:
            place = self._places[key]
            place.watchers = 0
            place.end_lease()
            self._begin(self._give_back(place))
        self._own.renew_soon()

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> _Lease | None:
        """Try to get the lease; None if another process has it, NATS cannot be asked, or nobody watches any more."""
        place = self._places.get(_seat_key(issuer_id, name))
        return None if place is None else await self._take(place, on_loss)

    async def wait_free(self, issuer_id: str, name: str) -> None:
        """Wait until the seat may have become free."""
        place = self._places.get(_seat_key(issuer_id, name))
        if place is not None:
            await place.may_be_free.wait()

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        """Tell how many watchers an issuer's subscriptions have by name, at all gateways; without those of none."""
        sums = {place.name: place.watchers for place in self._places.values() if place.issuer_id == issuer_id}
        for value in self._others.values():
            for issuer, name, count in _watchers_in(value):
                if issuer == issuer_id:
                    sums[name] = sums.get(name, 0) + count
        return {name: count for name, count in sums.items() if count}

    async def close(self) -> None:
        """Give everything back."""
        for place in self._places.values():
            place.end_lease()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._own.end()

    # --------------------------------------------------------------------------------------------- seats

    async def _take(self, place: _Place, on_loss: Callable[[], None]) -> _Lease | None:
        async with place.turn:
            place.may_be_free.clear()
            life = self._own.life
            try:
                seat = await self._find(place)
                if not (place.is_watched() and life.is_valid() and await self._is_free(seat)):
                    return None
                place.end_lease()
                place.last = seat
                taken = await self._write(place, life.session_id, max(seat.fence + 1, self._now_ms()), seat.revision)
            except NatsError:
                return None
            if taken is None:
                place.may_be_free.set()
                return None
            place.last = taken
            lease = _Lease(taken.fence, life, on_loss)
            if not (place.is_watched() and lease.is_held()):
                place.may_be_free.set()
                return None
            place.lease = lease
            return lease

    async def _give_back(self, place: _Place) -> None:
        async with place.turn:
            if place.is_watched():
                return
            try:
                # What was sent to take it may yet arrive, though no answer came or nobody waited for one: then this
                # comes after it, or makes it fail.
                while (seat := place.last) is not None:
                    if await self._write(place, _NOBODY, seat.fence, seat.revision) is None:
                        found = await self._find(place)
                        place.last = found if found.session_id == self._own.life.session_id else None
                    else:
                        place.last = None
            except NatsError:
                return  # Tried again with the next look.
            # Somebody may have come meanwhile.
            if not place.is_watched() and self._places.get(place.key) is place:
                del self._places[place.key]

    async def _find(self, place: _Place) -> _Seat:
        found = await self._bucket.get(place.key)
        if found is None:
            return _Seat(_NOBODY, 0, 0)
        session_id, fence = found.value.decode().split(" ")[:2]
        return _Seat(session_id, int(fence), found.revision)

    async def _write(self, place: _Place, session_id: str, fence: int, expected: int) -> _Seat | None:
        revision = await self._bucket.put(place.key, f"{session_id} {fence}".encode(), expected=expected)
        return None if revision is None else _Seat(session_id, fence, revision)

    async def _is_free(self, seat: _Seat) -> bool:
        return seat.session_id in (_NOBODY, self._own.life.session_id) or await self._others.is_over(seat.session_id)

    # ------------------------------------------------------------------------------------------ sessions

    def _say(self) -> bytes:
        self._said += 1
        lines = [f"{each.issuer_id} {each.name} {each.watchers}" for each in self._places.values() if each.watchers]
        return "\n".join([str(self._said), *lines]).encode()

    def _hear(self, message: Msg) -> None:
        _, _, kind, rest = message.subject.split(".", 3)
        if kind == "seat":
            place = self._places.get(f"seat.{rest}")
            if place is not None and message.data.startswith(_NOBODY.encode()):
                place.may_be_free.set()
        elif rest != self._own.life.session_id:
            self._others.hear(rest, message.data)

    def _reconnected(self, is_connected: bool) -> None:  # noqa: FBT001  as the connection tells it
        if is_connected:
            self._others.excuse()
            self._look_again()

    def _look_again(self) -> None:
        for place in self._places.values():
            place.may_be_free.set()

    def _lose(self) -> None:
        lost = [place.lease for place in self._places.values() if place.lease is not None]
        if lost:
            _log.warning("subscription_leases_lost", count=len(lost))
        self._look_again()
        for place in self._places.values():
            place.end_lease()
        for lease in lost:
            lease.on_loss()

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for place in list(self._places.values()):
                if not place.is_watched():
                    await self._give_back(place)
                elif place.lease is None and not place.turn.locked():
                    await self._look(place)

    async def _look(self, place: _Place) -> None:
        try:
            if await self._is_free(await self._find(place)):
                place.may_be_free.set()
        except NatsError:
            pass

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _seat_key(issuer_id: str, name: str) -> str:
    return f"seat.{token(issuer_id)}.{token(name)}"


def _watchers_in(value: bytes) -> Iterator[tuple[str, str, int]]:
    for line in value.decode().splitlines()[1:]:
        issuer_id, name, count = line.split(" ")[:3]
        yield issuer_id, name, int(count)
