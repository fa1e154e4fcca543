"""Leases at NATS, when its responses are lost or late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.jetstream.bucket import Bucket, Entry
from adapters.nats.leases.leases import NatsLeases
from adapters.nats.leases.peer_sessions import PeerSessions
from adapters.nats.leases.session import END, OwnSession

ISSUER, NAME, LEASE = "ISSUER0001", "fraud", "lease.ISSUER0001.fraud"


class FakeBucket(Bucket):
    """A bucket in a dictionary, whose responses can be lost and whose changes can be late."""

    def __init__(self) -> None:
        self.held: dict[str, Entry] = {}
        self.loses_responses = False
        """Whether changes are made without a response."""
        self.holds_back = False
        """Whether changes wait, without a response, for `let_through`."""
        self._late: list[tuple[str, bytes, int | None]] = []
        self._revision = 0

    def let_through(self) -> None:
        """Make the pending changes."""
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
        if self.loses_responses:
            raise RequestTimeoutError
        return changed

    def _change(self, key: str, value: bytes, expected: int | None) -> int | None:
        standing = self.held.get(key)
        if expected is not None and expected != (standing.revision if standing else 0):
            return None
        self._revision += 1
        self.held[key] = Entry(value, self._revision)
        return self._revision


class Recorder:
    """Records what a session reports."""

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


def a_session(bucket: FakeBucket, clock: Clock | None = None) -> tuple[OwnSession, Recorder]:
    recorder = Recorder()
    return OwnSession(bucket, recorder.say, recorder.begin, recorder.lose, clock or Clock()), recorder


def key_of(session: OwnSession) -> str:
    return f"session.{session.session.session_id}"


async def test_a_renewal_whose_response_was_lost_does_not_end_the_session() -> None:
    bucket = FakeBucket()
    session, recorder = a_session(bucket)
    await session.renew()
    before = session.session

    bucket.loses_responses = True
    await session.renew()
    bucket.loses_responses = False
    # It names the one before as the last, which it no longer is.
    await session.renew()
    assert await session.renew()

    assert session.session is before
    assert before.is_valid()
    assert (recorder.begins, recorder.losses) == (1, 0)


async def test_a_session_that_another_gateway_ended_is_lost_and_a_new_one_begins() -> None:
    bucket = FakeBucket()
    session, recorder = a_session(bucket)
    await session.renew()
    before = session.session

    await bucket.put(key_of(session), END)
    await session.renew()
    assert recorder.losses == 1
    await session.renew()

    assert session.session.session_id != before.session_id
    assert (session.session.is_valid(), recorder.begins) == (True, 2)
    assert bucket.held[f"session.{before.session_id}"].value == END


async def test_a_session_is_valid_from_when_its_renewal_was_sent_not_from_its_response() -> None:
    clock = Clock()

    class SlowBucket(FakeBucket):
        seconds = 0.0

        async def put(
            self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
        ) -> int | None:
            clock.now += self.seconds
            return await super().put(key, value, expected=expected, ttl_seconds=ttl_seconds)

    bucket = SlowBucket()
    session, recorder = a_session(bucket, clock)
    await session.renew()
    clock.now += 2.4
    assert session.session.is_valid()
    clock.now += 0.2
    assert not session.session.is_valid()

    # As if the process had been stopped between sending and the answer.
    bucket.seconds = 3.0
    await session.renew()

    assert not session.session.is_valid()
    assert recorder.losses == 1


async def test_what_ran_out_stays_lost_even_if_the_renewal_comes_through() -> None:
    clock = Clock()
    session, recorder = a_session(FakeBucket(), clock)
    await session.renew()

    clock.now += 8.0
    await session.renew()

    assert session.session.is_valid()
    assert (recorder.begins, recorder.losses) == (2, 1)


async def test_an_end_that_is_only_announced_ends_no_session() -> None:
    bucket = FakeBucket()
    ends: list[None] = []
    peers = PeerSessions(bucket, lambda: ends.append(None))
    await bucket.put("session.x", b"1")
    peers.receive("x", b"1")
    running = asyncio.create_task(peers.run())

    peers.receive("x", END)
    await asyncio.sleep(0.6)
    assert not ends
    assert not await peers.has_ended("x")

    await bucket.put("session.x", END)
    peers.receive("x", END)
    await asyncio.sleep(0.1)
    assert len(ends) == 1
    assert await peers.has_ended("x")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_session_whose_renewals_are_stored_lives_though_they_are_not_received() -> None:
    bucket = FakeBucket()
    ends: list[None] = []
    peers = PeerSessions(bucket, lambda: ends.append(None))
    await bucket.put("session.x", b"1")
    assert not await peers.has_ended("x")
    running = asyncio.create_task(peers.run())

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
    peers = PeerSessions(bucket, pytest.fail)
    await bucket.put("session.x", b"1")
    assert not await peers.has_ended("x")
    # As long ago as it takes.
    peers._alive["x"].time -= 3.0

    await peers._check("x", b"1", is_silent=True)

    assert not await peers.has_ended("x")
    assert bucket.held["session.x"].value == b"2"


async def test_what_is_received_after_a_reconnection_is_not_too_late() -> None:
    bucket = FakeBucket()
    ends: list[None] = []
    peers = PeerSessions(bucket, lambda: ends.append(None))
    await bucket.put("session.x", b"1")
    assert not await peers.has_ended("x")
    peers._alive["x"].time -= 3.0

    peers.restart_timers()
    running = asyncio.create_task(peers.run())
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


def holder(bucket: FakeBucket) -> str:
    return bucket.held[LEASE].value.decode().split(" ")[0]


async def settled(condition: Callable[[], bool]) -> None:
    for _ in range(50):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it has not come to that")


async def test_a_lease_that_was_taken_without_a_response_is_taken_again() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        bucket.loses_responses = True
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.loses_responses = False

        lease = await leases.acquire(ISSUER, NAME, pytest.fail)

        assert lease is not None
        assert lease.fencing_token == 2
        assert holder(bucket) == leases._own.session.session_id


async def test_a_lease_that_was_taken_without_a_response_is_released_when_the_watcher_leaves() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        bucket.loses_responses = True
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.loses_responses = False

        leases.set_watchers(ISSUER, NAME, 0)

        await settled(lambda: leases._subscriptions == {})
        assert holder(bucket) == "-"


@pytest.mark.parametrize("turns", range(6))
async def test_a_watcher_that_leaves_while_it_asks_leaves_no_lease_held(turns: int) -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        asking = asyncio.ensure_future(leases.acquire(ISSUER, NAME, pytest.fail))
        for _ in range(turns):
            await asyncio.sleep(0)

        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        leases.set_watchers(ISSUER, NAME, 0)

        await settled(lambda: leases._subscriptions == {})
        assert LEASE not in bucket.held or holder(bucket) == "-"


async def test_a_lease_is_not_taken_late_for_a_watcher_that_has_left() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        bucket.holds_back = True
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.holds_back = False
        leases.set_watchers(ISSUER, NAME, 0)
        await settled(lambda: leases._subscriptions == {})

        bucket.let_through()

        assert holder(bucket) == "-"


async def test_a_lease_that_could_not_be_released_is_released_with_the_next_check() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        assert await leases.acquire(ISSUER, NAME, pytest.fail) is not None
        bucket.holds_back = True
        leases.set_watchers(ISSUER, NAME, 0)
        await settled(lambda: bool(bucket._late))
        assert holder(bucket) == leases._own.session.session_id
        (subscription,) = leases._subscriptions.values()
        bucket.let_through()

        await leases._release(subscription)

        assert holder(bucket) == "-"
        assert leases._subscriptions == {}


async def test_a_watcher_that_comes_while_the_lease_is_released_gets_it() -> None:
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
        assert holder(bucket) == leases._own.session.session_id
        assert leases.watchers(ISSUER) == {NAME: 1}


async def test_a_lease_that_is_granted_after_its_session_was_lost_is_none() -> None:
    class LosingBucket(FakeBucket):
        async def put(
            self, key: str, value: bytes, *, expected: int | None = None, ttl_seconds: float | None = None
        ) -> int | None:
            if key == LEASE:
                leases._own.session.valid_until = 0.0
            return await super().put(key, value, expected=expected, ttl_seconds=ttl_seconds)

    bucket = LosingBucket()
    async with a_gateway(bucket) as leases:
        leases.set_watchers(ISSUER, NAME, 1)

        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None


async def test_no_two_gateways_are_granted_a_lease_whose_responses_are_lost() -> None:
    bucket = FakeBucket()
    async with a_gateway(bucket) as one, a_gateway(bucket) as two:
        for leases in (one, two):
            leases.set_watchers(ISSUER, NAME, 1)
        bucket.loses_responses = True
        assert await one.acquire(ISSUER, NAME, pytest.fail) is None
        bucket.loses_responses = False

        assert await two.acquire(ISSUER, NAME, pytest.fail) is None
        assert await one.acquire(ISSUER, NAME, pytest.fail) is not None
