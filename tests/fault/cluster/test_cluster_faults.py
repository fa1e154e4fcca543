"""NATS servers and gateways of a cluster die, hang and restart under load without losses."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator

import pytest

from adapters.nats.leases.session import SILENT_SECONDS
from sandbox.d1.model.contract import DELIVER_OTP, GET_CONSUMER_INFORMATION
from tests.e2e.watching import operation_ids
from tests.fault.cluster.calling import list_operations
from tests.fault.cluster.load import Load, under_load
from tests.fault.cluster.stage import NATS_TIMEOUT_SECONDS, Stage, staged

_SEED = "D1_FAULT_SEED"
_GATEWAYS = (0, 1)
_TAKE_OVER_SECONDS = 5.0
_RECOVERY_SECONDS = 5.0
_MEASUREMENTS = 3
_MOST_CANCELLED = 2
"""Of some thirty calls per second, in the moment in which clients learn of the gateway's drain."""
_HANDLED_HERE = GET_CONSUMER_INFORMATION.name
"""The callback for which each gateway has its own handler."""


@pytest.fixture
def seed() -> str:
    """The seed of all random choices in a test; set it to that of a failed run to reproduce it."""
    chosen = os.environ.get(_SEED) or str(random.SystemRandom().getrandbits(32))
    # Shown by pytest if the test fails.
    print(f"{_SEED}={chosen}")  # noqa: T201
    return chosen


@pytest.fixture(scope="module")
async def stage_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("cluster")) as stage:
        yield stage


@pytest.fixture
async def cluster(stage_of_module: Stage) -> Stage:
    """The stage that the tests of a module share, repaired after a failed test."""
    await stage_of_module.heal()
    return stage_of_module


@pytest.fixture
def chance(seed: str) -> random.Random:
    return random.Random(f"{seed} faults")  # noqa: S311 - no secret


async def test_the_streams_leader_is_killed_and_started_again(cluster: Stage, seed: str, chance: random.Random) -> None:
    async with under_load(cluster, seed) as load:
        # Which gateway is connected to it, and what else it leads, may differ each time.
        for _ in range(2):
            await asyncio.sleep(chance.uniform(0.5, 1.5))
            leader = await cluster.leader()
            await leader.kill()
            await load.edges_take()
            await leader.restart()

    check(load)
    _check_rejections(load)
    _check_callbacks(load)


async def test_servers_hang_for_a_while(cluster: Stage, seed: str, chance: random.Random) -> None:
    async with under_load(cluster, seed) as load:
        leader = await cluster.leader()
        for server in (leader, chance.choice([each for each in cluster.nats.servers if each is not leader])):
            await asyncio.sleep(chance.uniform(0.5, 1.5))
            server.pause()
            try:
                await asyncio.sleep(chance.uniform(5.0, 8.0))
            finally:
                server.resume()
            await load.edges_take()

    check(load)
    _check_rejections(load)
    _check_callbacks(load)


async def test_gateways_restart_in_turn(cluster: Stage, seed: str) -> None:
    takeovers = []
    async with under_load(cluster, seed) as load:
        for gateway in _GATEWAYS:
            await asyncio.sleep(1.0)
            began = time.monotonic()
            ending = asyncio.create_task(cluster.gateways.stop(gateway))
            await load.leaves(gateway)
            takeovers.append(time.monotonic() - began)
            assert await ending == 0
            await cluster.start(gateway)
            await load.is_whole()

    check(load, most_cancelled=_MOST_CANCELLED * len(_GATEWAYS))
    assert load.posts.broken_count, "nothing was posted meanwhile"
    _check_callbacks(load, most_crossed=len(_GATEWAYS))
    # Before the silence after which a gateway counts as dead.
    assert max(takeovers) < SILENT_SECONDS


async def test_gateways_are_killed_in_turn(cluster: Stage, seed: str, chance: random.Random) -> None:
    takeovers = []
    async with under_load(cluster, seed, changes=False) as load:
        for gateway in _GATEWAYS:
            await asyncio.sleep(chance.uniform(0.5, 1.5))
            began = time.monotonic()
            await cluster.gateways.kill(gateway)
            await load.leaves(gateway)
            takeovers.append(time.monotonic() - began)
            await load.is_alone(1 - gateway)
            await cluster.start(gateway)
            await load.is_whole()

    check(load)
    assert load.posts.broken_count, "nothing was posted meanwhile"
    assert load.callbacks.fallbacks[_HANDLED_HERE] == 0
    assert max(takeovers) < _TAKE_OVER_SECONDS


async def test_nats_is_gone_and_comes_back(cluster: Stage, seed: str, chance: random.Random) -> None:
    async with under_load(cluster, seed) as load:
        # Again if the machine was too busy for the promised time.
        for _ in range(_MEASUREMENTS):
            await asyncio.sleep(chance.uniform(0.5, 1.5))
            await cluster.nats.kill()
            rejections = [await _check_alone(load, gateway) for gateway in _GATEWAYS]
            await asyncio.sleep(chance.uniform(1.0, 4.0))
            await asyncio.gather(*(server.restart() for server in cluster.nats.servers))
            began = time.monotonic()
            await load.is_whole()
            recovery = time.monotonic() - began
            if recovery < _RECOVERY_SECONDS:
                break

    check(load)
    _check_rejections(load)
    _check_callbacks(load)
    # At once: without a wait for NATS.
    assert max(rejections) < NATS_TIMEOUT_SECONDS
    assert recovery < _RECOVERY_SECONDS


async def _check_alone(load: Load, gateway: int) -> float:
    """Check that a gateway without NATS does what it can; return the time to an error response."""
    began = time.monotonic()
    assert await load.posts.post_to(gateway) == 503
    took = time.monotonic() - began
    assert not await load.stage.is_ready(gateway)
    assert await load.callbacks.call(GET_CONSUMER_INFORMATION, gateway) == GET_CONSUMER_INFORMATION.success
    await list_operations(load.channels[gateway])
    return took


def _check_rejections(load: Load) -> None:
    """Check that notifications were rejected, and hardly any left without a response for as long as D1 waits."""
    assert load.posts.rejected_count > load.posts.broken_count


def _check_callbacks(load: Load, *, most_crossed: int = 0) -> None:
    """Check that no callback was interrupted, and that those with a handler at the same gateway succeeded.

    A gateway that drains leaves idle connections open for 0.1 s: a caller that is busy for longer may send on one that
    is closed by then.
    """
    assert load.callbacks.crossed_count <= most_crossed
    assert load.callbacks.interrupted[_HANDLED_HERE] == load.callbacks.interrupted[DELIVER_OTP.name] == 0
    assert load.callbacks.fallbacks[_HANDLED_HERE] == 0


def check(load: Load, *, most_cancelled: int = 0) -> None:
    """Check that nothing acknowledged was lost, nothing delivered twice or out of order, and no call failed.

    Some calls may have been cancelled: they arrived just as a gateway started to drain.
    """
    stored = operation_ids(load.stored)
    assert len(stored) == len(set(stored)), "something is in the log twice"
    assert set(stored) <= load.posts.sent, "something is in the log that was never posted"
    for card_id, acknowledged in load.posts.acknowledged.items():
        of_card = operation_ids(each for each in load.stored if each.card_id == card_id)
        lost = set(acknowledged) - set(of_card)
        assert not lost, f"acknowledged, and lost: {lost}"
        known = set(acknowledged)
        assert [each for each in of_card if each in known] == acknowledged, f"{card_id} is out of order"
    _check_watchers(load, stored)
    assert load.calls.cancelled_count <= most_cancelled, "calls were cut off"
    assert not load.calls.failures, f"a caller failed: {load.calls.failures}"
    errors = load.stage.errors() - load.errors_before
    assert not errors, f"logged as errors: {errors}"


def _check_watchers(load: Load, stored: list[str]) -> None:
    for follower in load.followers:
        assert follower.operation_ids == stored, "a watcher missed something, or saw it twice or out of order"
    of_card = operation_ids(each for each in load.stored if each.card_id == load.posts.cards[0])
    assert load.card_follower.operation_ids == of_card, "the watcher of a card missed something, or saw it twice"
    for found in load.rereads:
        assert found == stored[: len(found)], "what was read again was not the same"
    places = {load.begin: 0} | {each.cursor: place for place, each in enumerate(load.stored, 1)}
    for subscription in load.subscriptions:
        subscription.check(places, stored)
