"""The contract of `gateway.ports.SubscriptionLeases`, for engines that several processes share."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from sandbox.nats import NatsServer
from tests.conformance.lease_engines import Clock, NatsEngine, granted, quickest, until

ISSUER, OTHER_ISSUER, NAME = "ISSUER0001", "ISSUER0002", "Fraud.team-1_x"
TAKE_OVER_SECONDS = 5.0
"""After the death of a gateway, as docs/cluster.md promises."""


@pytest.fixture
def nats(nats_server: NatsServer) -> NatsEngine:
    return NatsEngine(nats_server)


@pytest.fixture
async def breakable_nats(tmp_path: Path) -> AsyncIterator[NatsEngine]:
    async with await NatsServer.start(tmp_path / "nats") as server:
        yield NatsEngine(server)


async def test_what_is_given_back_goes_to_the_next_gateway_at_once_and_never_to_two(nats: NatsEngine) -> None:
    async with nats.gateways(4) as gateways:
        competing = {}
        for gateway in gateways:
            gateway.leases.set_watchers(ISSUER, NAME, 1)
            competing[asyncio.create_task(granted(gateway.leases, ISSUER, NAME))] = gateway
        tokens, seconds = [], []
        while competing:
            began = time.monotonic()
            ((task,), _) = await asyncio.wait(competing, return_when=asyncio.FIRST_COMPLETED)
            seconds.append(time.monotonic() - began)
            tokens.append(task.result().fencing_token)
            await asyncio.sleep(0.2)
            assert not [other for other in competing if other.done() and other is not task]
            competing.pop(task).leases.set_watchers(ISSUER, NAME, 0)

        assert tokens == sorted(set(tokens))
        assert len(tokens) == 4
        # Far below the time after which a gateway is taken for dead.
        assert statistics.median(seconds) < 2.0


async def test_a_gateway_that_leaves_in_order_leaves_its_leases_at_once(nats: NatsEngine) -> None:
    async def hand_over() -> float:
        leaving = await nats.open(Clock())
        leaving.leases.set_watchers(ISSUER, NAME, 1)
        first = await granted(leaving.leases, ISSUER, NAME, pytest.fail)
        staying.leases.set_watchers(ISSUER, NAME, 1)
        waiting = asyncio.create_task(granted(staying.leases, ISSUER, NAME))
        await asyncio.sleep(0.2)
        assert not waiting.done()

        began = time.monotonic()
        await leaving.aclose()

        assert (await waiting).fencing_token > first.fencing_token
        seconds = time.monotonic() - began
        assert not first.is_held()
        assert staying.leases.watchers(ISSUER) == {NAME: 1}
        staying.leases.set_watchers(ISSUER, NAME, 0)
        return seconds

    async with nats.gateways(1) as (staying,):
        assert await quickest(hand_over, 2.0) < 2.0


async def test_what_a_dead_gateway_had_goes_to_another_within_five_seconds_but_not_too_soon(nats: NatsEngine) -> None:
    names = (NAME, "another")

    async def take_over() -> float:
        dying = await nats.open(Clock())
        for name in names:
            dying.leases.set_watchers(ISSUER, name, 1)
            staying.leases.set_watchers(ISSUER, name, 1)
        held = [await granted(dying.leases, ISSUER, name) for name in names]
        waiting = [asyncio.create_task(granted(staying.leases, ISSUER, name)) for name in names]
        await until(lambda: staying.leases.watchers(ISSUER) == dict.fromkeys(names, 2))

        await dying.die()
        died = time.monotonic()
        while not waiting[0].done():
            was_held = [lease.is_held() for lease in held]
            await asyncio.sleep(0.005)
        assert was_held == [False, False], "another one was granted what this one still took for its own"
        taken = await asyncio.gather(*waiting)
        seconds = time.monotonic() - died

        assert all(after.fencing_token > before.fencing_token for before, after in zip(held, taken, strict=True))
        assert staying.leases.watchers(ISSUER) == dict.fromkeys(names, 1)
        await dying.leases.close()
        for name in names:
            staying.leases.set_watchers(ISSUER, name, 0)
        return seconds

    async with nats.gateways(1) as (staying,):
        assert await quickest(take_over, TAKE_OVER_SECONDS) < TAKE_OVER_SECONDS


async def test_a_gateway_that_died_before_another_one_began_is_found_out(nats: NatsEngine) -> None:
    async def take_over() -> float:
        dying = await nats.open(Clock())
        dying.leases.set_watchers(ISSUER, NAME, 1)
        await granted(dying.leases, ISSUER, NAME)
        await dying.die()

        async with nats.gateways(1) as (late,):
            late.leases.set_watchers(ISSUER, NAME, 1)
            began = time.monotonic()
            assert (await granted(late.leases, ISSUER, NAME)).is_held()
            seconds = time.monotonic() - began
        await dying.leases.close()
        return seconds

    assert await quickest(take_over, TAKE_OVER_SECONDS) < TAKE_OVER_SECONDS


async def test_what_a_peer_holds_is_taken_until_it_releases_it_or_is_dead(nats: NatsEngine) -> None:
    async def is_free() -> bool:
        return not await observer.leases.is_taken(ISSUER, NAME)

    async with nats.gateways(2) as (observer, holder):
        assert await is_free()
        holder.leases.set_watchers(ISSUER, NAME, 1)
        await granted(holder.leases, ISSUER, NAME)
        assert not await is_free()
        holder.leases.set_watchers(ISSUER, NAME, 0)
        async with asyncio.timeout(TAKE_OVER_SECONDS):
            while not await is_free():
                pass

        dying = await nats.open(Clock())
        dying.leases.set_watchers(ISSUER, NAME, 1)
        await granted(dying.leases, ISSUER, NAME)
        await dying.die()
        assert not await is_free()
        async with asyncio.timeout(20):
            while not await is_free():
                pass
        await dying.leases.close()


async def test_without_nats_nobody_can_say_whether_a_lease_is_taken(breakable_nats: NatsEngine) -> None:
    async with breakable_nats.gateways(1) as (gateway,):
        await breakable_nats.server.kill()

        with pytest.raises(GatewayError) as caught:
            await gateway.leases.is_taken(ISSUER, NAME)

        assert caught.value.reason == error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE
        await breakable_nats.server.restart()


async def test_watchers_of_all_living_gateways_are_summed(nats: NatsEngine) -> None:
    async with nats.gateways(2) as (one, two):
        three = await nats.open(Clock())
        for gateway, count in ((one, 1), (two, 2), (three, 4)):
            gateway.leases.set_watchers(ISSUER, NAME, count)
        two.leases.set_watchers(OTHER_ISSUER, NAME, 5)
        for gateway in (one, two, three):
            await until(lambda leases=gateway.leases: leases.watchers(ISSUER) == {NAME: 7})  # type: ignore[misc]
            await until(lambda leases=gateway.leases: leases.watchers(OTHER_ISSUER) == {NAME: 5})  # type: ignore[misc]

        await three.die()
        await until(lambda: one.leases.watchers(ISSUER) == {NAME: 3})
        two.leases.set_watchers(ISSUER, NAME, 0)
        await until(lambda: one.leases.watchers(ISSUER) == {NAME: 1})
        await three.leases.close()


async def test_a_gateway_that_begins_knows_the_watchers_that_there_are(nats: NatsEngine) -> None:
    async with nats.gateways(1) as (first,):
        first.leases.set_watchers(ISSUER, NAME, 3)
        async with nats.gateways(1) as (observer,):
            await until(lambda: observer.leases.watchers(ISSUER) == {NAME: 3})
            async with nats.gateways(1) as (late,):
                assert late.leases.watchers(ISSUER) == {NAME: 3}


async def test_while_nats_is_gone_leases_are_lost_and_later_granted_anew(breakable_nats: NatsEngine) -> None:
    async def outage() -> float:
        losses: list[float] = []
        lease = await granted(gateway.leases, ISSUER, NAME, lambda: losses.append(time.monotonic()))

        gone = time.monotonic()
        await breakable_nats.server.kill()
        assert lease.is_held(), "nobody else can be granted it so soon"
        await until(lambda: bool(losses))
        assert not lease.is_held()
        assert await gateway.leases.acquire(ISSUER, NAME, pytest.fail) is None
        waiting = asyncio.create_task(granted(gateway.leases, ISSUER, NAME))
        await breakable_nats.server.restart()
        back = time.monotonic()
        again = await waiting
        seconds = max(time.monotonic() - back, losses[0] - gone)

        assert again.fencing_token > lease.fencing_token
        assert not lease.is_held()
        assert len(losses) == 1
        return seconds

    async with breakable_nats.gateways(1) as (gateway,):
        gateway.leases.set_watchers(ISSUER, NAME, 1)
        assert await quickest(outage, TAKE_OVER_SECONDS) < TAKE_OVER_SECONDS


async def test_a_short_silence_of_nats_costs_no_lease(breakable_nats: NatsEngine) -> None:
    async with breakable_nats.gateways(2) as (gateway, other):
        gateway.leases.set_watchers(ISSUER, NAME, 1)
        other.leases.set_watchers(ISSUER, NAME, 1)
        lease = await granted(gateway.leases, ISSUER, NAME, pytest.fail)
        waiting = asyncio.create_task(granted(other.leases, ISSUER, NAME))

        for _ in range(3):
            breakable_nats.server.pause()
            await asyncio.sleep(0.5)
            breakable_nats.server.resume()
            await asyncio.sleep(0.5)

        assert lease.is_held()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_what_is_given_back_while_nats_is_gone_is_free_when_it_returns(breakable_nats: NatsEngine) -> None:
    async with breakable_nats.gateways(2) as (gateway, other):
        gateway.leases.set_watchers(ISSUER, NAME, 1)
        await granted(gateway.leases, ISSUER, NAME)
        other.leases.set_watchers(ISSUER, NAME, 1)
        waiting = asyncio.create_task(granted(other.leases, ISSUER, NAME))
        await asyncio.sleep(0.2)

        await breakable_nats.server.kill()
        gateway.leases.set_watchers(ISSUER, NAME, 0)
        await asyncio.sleep(0.2)
        await breakable_nats.server.restart()

        assert (await waiting).is_held()
