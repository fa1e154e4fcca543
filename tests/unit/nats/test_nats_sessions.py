"""Sessions of gateways at NATS, when its responses are lost or late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from adapters.nats.leases.peer_sessions import PeerSessions
from adapters.nats.leases.session import END, SILENT_SECONDS, OwnSession
from tests.unit.nats.fake_bucket import FakeBucket


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


async def a_session(bucket: FakeBucket, clock: Clock | None = None) -> tuple[OwnSession, Recorder]:
    recorder = Recorder()
    session = OwnSession(bucket, recorder.say, recorder.begin, recorder.lose, clock or Clock())
    await session.renew()
    return session, recorder


@asynccontextmanager
async def watched(peers: PeerSessions) -> AsyncIterator[None]:
    running = asyncio.create_task(peers.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  the sessions report only ends
            await asyncio.sleep(0.01)


@pytest.fixture
def ends() -> list[None]:
    """An entry for each session whose end was reported."""
    return []


@pytest.fixture
async def peers(bucket: FakeBucket, ends: list[None]) -> PeerSessions:
    """The sessions of peers: of one, x, which is alive."""
    peers = PeerSessions(bucket, lambda: ends.append(None))
    await bucket.put("session.x", b"1")
    assert not await peers.has_ended("x")
    return peers


def key_of(session: OwnSession) -> str:
    return f"session.{session.session.session_id}"


async def test_a_renewal_whose_response_was_lost_does_not_end_the_session(bucket: FakeBucket) -> None:
    session, recorder = await a_session(bucket)
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


async def test_a_session_that_another_gateway_ended_is_lost_and_a_new_one_begins(bucket: FakeBucket) -> None:
    session, recorder = await a_session(bucket)
    before = session.session

    await bucket.put(key_of(session), END)
    await session.renew()
    assert recorder.losses == 1
    await session.renew()

    assert session.session.session_id != before.session_id
    assert (session.session.is_valid(), recorder.begins) == (True, 2)
    assert bucket.held[f"session.{before.session_id}"].value == END


async def test_a_session_is_valid_from_when_its_renewal_was_sent_not_from_its_response(bucket: FakeBucket) -> None:
    clock = Clock()

    def stop(key: str, value: bytes) -> None:
        del key, value
        clock.now += 3.0

    session, recorder = await a_session(bucket, clock)
    clock.now += 2.4
    assert session.session.is_valid()
    clock.now += 0.2
    assert not session.session.is_valid()

    # As if the process had been stopped between sending and the response.
    bucket.before_put = stop
    await session.renew()

    assert not session.session.is_valid()
    assert recorder.losses == 1


async def test_what_ran_out_stays_lost_even_if_the_renewal_comes_through(bucket: FakeBucket) -> None:
    clock = Clock()
    session, recorder = await a_session(bucket, clock)

    clock.now += 8.0
    await session.renew()

    assert session.session.is_valid()
    assert (recorder.begins, recorder.losses) == (2, 1)


async def test_an_end_that_is_only_announced_ends_no_session(
    bucket: FakeBucket, peers: PeerSessions, ends: list[None]
) -> None:
    async with watched(peers):
        peers.receive("x", END)
        reads = bucket.reads
        await until(lambda: bucket.reads >= reads + 2)
        assert not ends
        assert not await peers.has_ended("x")

        await bucket.put("session.x", END)
        peers.receive("x", END)
        await until(lambda: bool(ends))
        assert len(ends) == 1
        assert await peers.has_ended("x")


async def test_a_session_whose_renewals_are_stored_lives_though_they_are_not_received(
    bucket: FakeBucket, peers: PeerSessions, ends: list[None]
) -> None:
    async def renew(renewal: bytes) -> None:
        await bucket.put("session.x", renewal)
        peers._alive["x"].time -= SILENT_SECONDS
        await until(lambda: renewal in peers.renewals())

    async with watched(peers):
        await renew(b"2")
        await renew(b"3")
        assert not ends


async def test_a_renewal_that_comes_just_before_the_end_keeps_the_session(
    bucket: FakeBucket, peers: PeerSessions, ends: list[None]
) -> None:
    def renew(key: str, value: bytes) -> None:
        if value == END:
            bucket.change(key, b"2", None)

    bucket.before_put = renew
    peers._alive["x"].time -= SILENT_SECONDS

    await peers._check("x", b"1", is_silent=True)

    assert not ends
    assert not await peers.has_ended("x")
    assert bucket.held["session.x"].value == b"2"


async def test_what_is_received_after_a_reconnection_is_not_too_late(peers: PeerSessions, ends: list[None]) -> None:
    peers._alive["x"].time -= SILENT_SECONDS

    peers.restart_timers()
    async with watched(peers):
        await asyncio.sleep(0.3)

        assert not ends
