"""Leases at NATS, when its answers get lost or come late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.jetstream.bucket import Bucket, Entry
from adapters.nats.leases.leases import NatsLeases
from adapters.nats.leases.peer_sessions import PeerSessions
from adapters.nats.leases.session import END, OwnSession

ISSUER, NAME, SEAT = "ISSUER0001", "fraud", "seat.ISSUER0001.fraud"


class FakeBucket(Bucket):
    """A bucket in a dictionary, whose answers can get lost and whose changes can come late."""

    def __init__(self) -> None:
        self.held: dict[str, Entry] = {}
        self.loses_answers = False
        """Whether changes are made and not answered."""
        self.holds_back = False
        """Whether changes are neither made nor answered, until `let_through`."""
        self._late: list[tuple[str, bytes, int | None]] = []
        self._revision = 0

    def let_through(self) -> None:
        """Make the changes that were held back."""
        self.holds_back = False
        late, self._late = self._late, []
        for key, value, expected in late:
            self._change(key, value, expected)

    async def get(self, key: str) -> Entry | None:
        await asyncio.sleep(0)
        return self.held.get(key)

    async def put(
        self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
    ) -> int | None:
        del ttl_seconds
        await asyncio.sleep(0)
        if self.holds_back:
            self._late.append((key, value, expected))
            raise RequestTimeoutError
        changed = self._change(key, value, expected)
        await asyncio.sleep(0)
        if self.loses_answers:
            raise RequestTimeoutError
        return changed

    def _change(self, key: str, value: bytes, expected: int | None) -> int | None:
        standing = self.held.get(key)
        if expected is not None and expected != (standing.revision if standing else 0):
            return None
        self._revision += 1
        self.held[key] = Entry(value, self._revision)
        return self._revision


class Told:
    """What a session of ours tells."""

    def __init__(self) -> None:
        self.says = 0
        self.begins = 0
        self.losses = 0

    def say(self) -> bytes:
        self.says += 1
        return str(self.says).encode()

    def begin(self) -> None:
        self.begins += 1

    def lose(self) -> None:
        self.losses += 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_session(bucket: FakeBucket, clock: Clock | None = None) -> tuple[OwnSession, Told]:
    told = Told()
    return OwnSession(bucket, told.say, told.begin, told.lose, clock or Clock()), told


def key_of(session: OwnSession) -> str:
    return f"session.{session.life.session_id}"


async def test_a_renewal_whose_answer_got_lost_does_not_end_the_session() -> None:
    bucket = FakeBucket()
    session, told = a_session(bucket)
    await session.renew()
    life = session.life

    bucket.loses_answers = True
    await session.renew()
    bucket.loses_answers = False
    # It names the one before as the last, which it no longer is.
    await session.renew()
    assert await session.renew()

    assert session.life is life
    assert life.is_valid()
    assert (told.begins, told.losses) == (1, 0)


async def test_a_session_that_another_gateway_ended_is_lost_and_a_new_one_begins() -> None:
    bucket = FakeBucket()
    session, told = a_session(bucket)
    await session.renew()
    before = session.life

    await bucket.put(key_of(session), END)
    await session.renew()
    assert told.losses == 1
    await session.renew()

    assert session.life.session_id != before.session_id
    assert (session.life.is_valid(), told.begins) == (True, 2)
    assert bucket.held[f"session.{before.session_id}"].value == END


async def test_a_session_is_valid_from_when_its_renewal_was_sent_not_from_its_answer() -> None:
    clock = Clock()

    class SlowBucket(FakeBucket):
        seconds = 0.0

        async def put(
            self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
        ) -> int | None:
            clock.now += self.seconds
            return await super().put(key, value, expected=expected, ttl_seconds=ttl_seconds)

    bucket = SlowBucket()
    session, told = a_session(bucket, clock)
    await session.renew()
    clock.now += 2.4
    assert session.life.is_valid()
    clock.now += 0.2
    assert not session.life.is_valid()

    # As if the process had been stopped between sending and the answer.
    bucket.seconds = 3.0
    await session.renew()

    assert not session.life.is_valid()
    assert told.losses == 1


async def test_what_ran_out_stays_lost_even_if_the_renewal_comes_through() -> None:
    clock = Clock()
    session, told = a_session(FakeBucket(), clock)
    await session.renew()

    clock.now += 8.0
    await session.renew()

    assert session.life.is_valid()
    assert (told.begins, told.losses) == (2, 1)


async def test_an_end_that_is_only_said_ends_no_session() -> None:
    bucket = FakeBucket()
    ends: list[None] = []
    others = PeerSessions(bucket, lambda: ends.append(None))
    await bucket.put("session.x", b"1")
    others.hear("x", b"1")
    running = asyncio.create_task(others.run())

    others.hear("x", END)
    await asyncio.sleep(0.6)
    assert not ends
    assert not await others.is_over("x")

    await bucket.put("session.x", END)
    others.hear("x", END)
    await asyncio.sleep(0.1)
    assert len(ends) == 1
    assert await others.is_over("x")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_session_whose_renewals_are_stored_lives_though_they_are_not_heard() -> None:
    bucket = FakeBucket()
    ends: list[None] = []
    others = PeerSessions(bucket, lambda: ends.append(None))
    await bucket.put("session.x", b"1")
    assert not await others.is_over("x")
    running = asyncio.create_task(others.run())

    for number in range(2, 9):
        await asyncio.sleep(0.5)
        await bucket.put("session.x", str(number).encode())

    assert not ends
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_renewal_that_comes_just_before_the_end_keeps_the_session() -> None:
    class LateRenewal(FakeBucket):
        async def put(
            self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
        ) -> int | None:
            if value == END:
                self._change(key, b"2", None)
            return await super().put(key, value, expected=expected, ttl_seconds=ttl_seconds)

    bucket = LateRenewal()
    others = PeerSessions(bucket, pytest.fail)
    await bucket.put("session.x", b"1")
    assert not await others.is_over("x")
    # As long ago as it takes.
    others._heard["x"].time -= 3.0

    await others._look("x", b"1", is_silent=True)

    assert not await others.is_over("x")
    assert bucket.held["session.x"].value == b"2"


async def test_what_is_heard_after_a_reconnection_is_not_too_late() -> None:
    bucket = FakeBucket()
    ends: list[None] = []
    others = PeerSessions(bucket, lambda: ends.append(None))
    await bucket.put("session.x", b"1")
    assert not await others.is_over("x")
    others._heard["x"].time -= 3.0

    others.excuse()
    running = asyncio.create_task(others.run())
    await asyncio.sleep(0.3)

    assert not ends
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def a_gateway(bucket: FakeBucket) -> AsyncIterator[NatsLeases]:
    leases = NatsLeases(bucket, lambda: 0)
    await leases._own.renew()
    try:
        yield leases
    finally:
        await leases.close()


def seat(bucket: FakeBucket) -> str:
    return bucket.held[SEAT].value.decode().split(" ")[0]


async def settled(condition: Callable[[], bool]) -> None:
    for _ in range(50):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it has not come to that")


async def test_a_seat_that_was_taken_without_an_answer_is_taken_again() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        bucket.loses_answers = True
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.loses_answers = False

        lease = await leases.acquire(ISSUER, NAME, pytest.fail)

        assert lease is not None
        assert lease.fencing_token == 2
        assert seat(bucket) == leases._own.life.session_id


async def test_a_seat_that_was_taken_without_an_answer_is_given_back_when_the_watcher_leaves() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        bucket.loses_answers = True
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.loses_answers = False

        leases.set_watchers(ISSUER, NAME, 0)

        await settled(lambda: leases._places == {})
        assert seat(bucket) == "-"


@pytest.mark.parametrize("turns", range(6))
async def test_a_watcher_that_leaves_while_it_asks_leaves_no_seat_taken(turns: int) -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        asking = asyncio.ensure_future(leases.acquire(ISSUER, NAME, pytest.fail))
        for _ in range(turns):
            await asyncio.sleep(0)

        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        leases.set_watchers(ISSUER, NAME, 0)

        await settled(lambda: leases._places == {})
        assert SEAT not in bucket.held or seat(bucket) == "-"


async def test_a_seat_is_not_taken_late_for_a_watcher_that_has_left() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        bucket.holds_back = True
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.holds_back = False
        leases.set_watchers(ISSUER, NAME, 0)
        await settled(lambda: leases._places == {})

        bucket.let_through()

        assert seat(bucket) == "-"


async def test_a_seat_that_could_not_be_given_back_is_given_back_with_the_next_look() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is not None
        bucket.holds_back = True
        leases.set_watchers(ISSUER, NAME, 0)
        await settled(lambda: bool(bucket._late))
        assert seat(bucket) == leases._own.life.session_id
        (place,) = leases._places.values()
        bucket.let_through()

        await leases._give_back(place)

        assert seat(bucket) == "-"
        assert leases._places == {}


async def test_a_watcher_that_comes_while_the_seat_is_given_back_gets_it() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        first = await leases.acquire(ISSUER, NAME, pytest.fail)
        assert first is not None
        leases.set_watchers(ISSUER, NAME, 0)
        await asyncio.sleep(0)
        leases.set_watchers(ISSUER, NAME, 1)

        second = await leases.acquire(ISSUER, NAME, pytest.fail)

        assert second is not None
        assert second.fencing_token > first.fencing_token
        await asyncio.sleep(0.01)
        assert second.is_held()
        assert seat(bucket) == leases._own.life.session_id
        assert leases.watchers(ISSUER) == {NAME: 1}


async def test_a_lease_that_is_granted_after_its_session_was_lost_is_none() -> None:
    class LosingBucket(FakeBucket):
        async def put(
            self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
        ) -> int | None:
            if key == SEAT:
                leases._own.life.valid_until = 0.0
            return await super().put(key, value, expected=expected, ttl_seconds=ttl_seconds)

    bucket = LosingBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)

        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None


async def test_no_two_gateways_are_granted_a_lease_whose_answers_get_lost() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as one, a_gateway(bucket) as two:
        for leases in (one, two):
            leases.set_watchers(ISSUER, NAME, 1)
        bucket.loses_answers = True
        assert await one.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.loses_answers = False

        assert await two.acquire(ISSUER, NAME, pytest.fail) is None
        assert await one.acquire(ISSUER, NAME, pytest.fail) is not None
