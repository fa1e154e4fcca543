"""The contract of `gateway.ports.SubscriptionLeases`: of every engine, then of those that processes share."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.nats import NatsServer
from tests.conformance.lease_engines import Clock, NatsEngine, SqliteEngine, granted, until

ISSUER, OTHER_ISSUER, NAME = "ISSUER0001", "ISSUER0002", "Fraud.team-1_x"


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsEngine]:
    async with await NatsServer.start(tmp_path / "nats") as server:
        yield NatsEngine(server)


@pytest.fixture(params=["sqlite", "nats"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteEngine | NatsEngine:
    if request.param == "sqlite":
        return SqliteEngine(tmp_path)
    shared: NatsEngine = request.getfixturevalue("nats")
    return shared


# --------------------------------------------------------------------------------------------- every engine


async def test_a_watcher_is_granted_the_lease(engine: SqliteEngine | NatsEngine) -> None:
    async with engine.gateway(Clock()) as leases:
        leases.set_watchers(ISSUER, NAME, 1)

        lease = await leases.acquire(ISSUER, NAME, pytest.fail)

        assert lease is not None
        assert lease.is_held()


async def test_without_a_watcher_nothing_is_granted(engine: SqliteEngine | NatsEngine) -> None:
    async with engine.gateway(Clock()) as leases:
        leases.set_watchers(ISSUER, "another", 1)
        leases.set_watchers(ISSUER, NAME, 1)
        leases.set_watchers(ISSUER, NAME, 0)

        assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
        assert await leases.acquire(ISSUER, "never-watched", pytest.fail) is None


async def test_when_the_last_watcher_leaves_the_lease_is_over_at_once(engine: SqliteEngine | NatsEngine) -> None:
    async with engine.gateway(Clock()) as leases:
        leases.set_watchers(ISSUER, NAME, 2)
        lease = await granted(leases, ISSUER, NAME, pytest.fail)

        leases.set_watchers(ISSUER, NAME, 1)
        assert lease.is_held()
        leases.set_watchers(ISSUER, NAME, 0)
        assert not lease.is_held()


async def test_a_watcher_that_comes_after_the_last_one_left_is_granted_a_new_lease(
    engine: SqliteEngine | NatsEngine,
) -> None:
    async with engine.gateway(Clock()) as leases:
        tokens = []
        for _ in range(5):
            leases.set_watchers(ISSUER, NAME, 1)
            tokens.append((await granted(leases, ISSUER, NAME)).fencing_token)
            leases.set_watchers(ISSUER, NAME, 0)

        assert tokens == sorted(set(tokens))


async def test_the_next_watcher_of_the_process_replaces_the_lease_by_one_with_a_larger_fencing_token(
    engine: SqliteEngine | NatsEngine,
) -> None:
    async with engine.gateway(Clock()) as leases:
        leases.set_watchers(ISSUER, NAME, 2)
        first = await granted(leases, ISSUER, NAME, pytest.fail)

        second = await granted(leases, ISSUER, NAME, pytest.fail)

        assert (first.is_held(), second.is_held()) == (False, True)
        assert second.fencing_token > first.fencing_token


async def test_a_watcher_that_leaves_while_acquiring_is_granted_nothing_and_hinders_nobody(
    engine: SqliteEngine | NatsEngine,
) -> None:
    async with engine.gateway(Clock()) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        asking = asyncio.ensure_future(leases.acquire(ISSUER, NAME, pytest.fail))
        await asyncio.sleep(0)
        leases.set_watchers(ISSUER, NAME, 0)
        assert await asking is None

        leases.set_watchers(ISSUER, NAME, 1)
        asking = asyncio.ensure_future(leases.acquire(ISSUER, NAME, pytest.fail))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        leases.set_watchers(ISSUER, NAME, 0)
        leases.set_watchers(ISSUER, NAME, 1)
        assert (await granted(leases, ISSUER, NAME)).is_held()


async def test_fencing_tokens_grow_over_restarts_even_if_the_clock_goes_back(engine: SqliteEngine | NatsEngine) -> None:
    clock = Clock()
    begin = clock.now_ms
    tokens = []
    for _ in range(3):
        async with engine.gateway(clock) as leases:
            leases.set_watchers(ISSUER, NAME, 1)
            tokens += [(await granted(leases, ISSUER, NAME)).fencing_token for _ in range(3)]
        clock.now_ms -= 60_000

    assert tokens == list(range(begin, begin + 9))


async def test_a_fencing_token_is_not_below_the_clock(engine: SqliteEngine | NatsEngine) -> None:
    clock = Clock()
    async with engine.gateway(clock) as leases:
        leases.set_watchers(ISSUER, NAME, 1)
        first = await granted(leases, ISSUER, NAME)
        clock.now_ms += 60_000
        second = await granted(leases, ISSUER, NAME)

    # So tokens exceed the earlier ones of a log that was recreated or moved to another engine.
    assert (first.fencing_token, second.fencing_token) == (clock.now_ms - 60_000, clock.now_ms)


async def test_subscriptions_of_other_names_and_other_issuers_are_others(engine: SqliteEngine | NatsEngine) -> None:
    async with engine.gateway(Clock()) as leases:
        subscriptions = [(ISSUER, NAME), (ISSUER, NAME.lower()), (OTHER_ISSUER, NAME), (ISSUER, "a.b"), (ISSUER, "a_b")]
        for subscription in subscriptions:
            leases.set_watchers(*subscription, 1)
        held = [await granted(leases, *subscription, pytest.fail) for subscription in subscriptions]

        leases.set_watchers(ISSUER, NAME, 0)

        assert [lease.is_held() for lease in held] == [False, True, True, True, True]


async def test_watchers_are_counted_by_issuer_and_name(engine: SqliteEngine | NatsEngine) -> None:
    async with engine.gateway(Clock()) as leases:
        leases.set_watchers(ISSUER, NAME, 2)
        leases.set_watchers(ISSUER, "another", 1)
        leases.set_watchers(OTHER_ISSUER, NAME, 3)
        leases.set_watchers(ISSUER, "another", 0)

        assert leases.watchers(ISSUER) == {NAME: 2}
        assert leases.watchers(OTHER_ISSUER) == {NAME: 3}
        assert leases.watchers("ISSUER0003") == {}


# ----------------------------------------------------------------------------- those that processes share


async def test_of_several_gateways_one_is_granted_the_lease(nats: NatsEngine) -> None:
    async with nats.gateways(3) as gateways:
        for gateway in gateways:
            gateway.leases.set_watchers(ISSUER, NAME, 1)

        asked = await asyncio.gather(*(each.leases.acquire(ISSUER, NAME, pytest.fail) for each in gateways))

        assert len([lease for lease in asked if lease is not None]) == 1


async def test_what_is_given_back_goes_to_the_next_gateway_at_once_and_never_to_two(nats: NatsEngine) -> None:
    async with nats.gateways(4) as gateways:
        competing = {}
        for gateway in gateways:
            gateway.leases.set_watchers(ISSUER, NAME, 1)
            competing[asyncio.create_task(granted(gateway.leases, ISSUER, NAME))] = gateway
        tokens = []
        while competing:
            began = time.monotonic()
            ((task,), _) = await asyncio.wait(competing, return_when=asyncio.FIRST_COMPLETED)
            # Far below the time after which a gateway is taken for dead.
            assert time.monotonic() - began < 2.0
            tokens.append(task.result().fencing_token)
            await asyncio.sleep(0.2)
            assert not [other for other in competing if other.done() and other is not task]
            competing.pop(task).leases.set_watchers(ISSUER, NAME, 0)

        assert tokens == sorted(set(tokens))
        assert len(tokens) == 4


async def test_a_gateway_that_leaves_in_order_leaves_its_leases_at_once(nats: NatsEngine) -> None:
    async with nats.gateways(1) as (staying,):
        leaving = await nats.open(Clock())
        leaving.leases.set_watchers(ISSUER, NAME, 1)
        first = await granted(leaving.leases, ISSUER, NAME, pytest.fail)
        staying.leases.set_watchers(ISSUER, NAME, 1)
        waiting = asyncio.create_task(granted(staying.leases, ISSUER, NAME))
        await asyncio.sleep(0.2)
        assert not waiting.done()

        await leaving.close()

        async with asyncio.timeout(2.0):
            assert (await waiting).fencing_token > first.fencing_token
        assert not first.is_held()
        assert staying.leases.watchers(ISSUER) == {NAME: 1}


async def test_what_a_gateway_had_that_died_goes_to_another_one_within_five_seconds_and_not_before_its_time(
    nats: NatsEngine,
) -> None:
    async with nats.gateways(1) as (staying,):
        dying = await nats.open(Clock())
        for name in (NAME, "another"):
            dying.leases.set_watchers(ISSUER, name, 1)
            staying.leases.set_watchers(ISSUER, name, 1)
        held = [await granted(dying.leases, ISSUER, name) for name in (NAME, "another")]
        waiting = [asyncio.create_task(granted(staying.leases, ISSUER, name)) for name in (NAME, "another")]
        await until(lambda: staying.leases.watchers(ISSUER) == {NAME: 2, "another": 2})

        await dying.die()
        died = time.monotonic()
        while not waiting[0].done():
            was_held = [lease.is_held() for lease in held]
            await asyncio.sleep(0.005)
        assert was_held == [False, False], "another one was granted what this one still took for its own"
        taken = await asyncio.gather(*waiting)

        assert time.monotonic() - died < 5.0
        assert all(after.fencing_token > before.fencing_token for before, after in zip(held, taken, strict=True))
        assert staying.leases.watchers(ISSUER) == {NAME: 1, "another": 1}
        await dying.leases.close()


async def test_a_gateway_that_died_before_another_one_began_is_found_out(nats: NatsEngine) -> None:
    dying = await nats.open(Clock())
    dying.leases.set_watchers(ISSUER, NAME, 1)
    await granted(dying.leases, ISSUER, NAME)
    await dying.die()

    async with nats.gateways(1) as (late,):
        late.leases.set_watchers(ISSUER, NAME, 1)
        began = time.monotonic()
        assert (await granted(late.leases, ISSUER, NAME)).is_held()
        assert time.monotonic() - began < 5.0
    await dying.leases.close()


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


async def test_while_nats_is_gone_leases_are_lost_and_later_granted_anew(nats: NatsEngine) -> None:
    async with nats.gateways(1) as (gateway,):
        losses: list[float] = []
        gateway.leases.set_watchers(ISSUER, NAME, 1)
        lease = await granted(gateway.leases, ISSUER, NAME, lambda: losses.append(time.monotonic()))

        gone = time.monotonic()
        await nats.server.kill()
        assert lease.is_held(), "nobody else can be granted it so soon"
        await until(lambda: bool(losses))
        assert not lease.is_held()
        assert losses[0] - gone < 5.0
        assert await gateway.leases.acquire(ISSUER, NAME, pytest.fail) is None
        waiting = asyncio.create_task(granted(gateway.leases, ISSUER, NAME))
        await nats.server.restart()
        back = time.monotonic()
        again = await waiting

        assert time.monotonic() - back < 5.0
        assert again.fencing_token > lease.fencing_token
        assert not lease.is_held()
        assert len(losses) == 1


async def test_a_short_silence_of_nats_costs_no_lease(nats: NatsEngine) -> None:
    async with nats.gateways(2) as (gateway, other):
        gateway.leases.set_watchers(ISSUER, NAME, 1)
        other.leases.set_watchers(ISSUER, NAME, 1)
        lease = await granted(gateway.leases, ISSUER, NAME, pytest.fail)
        waiting = asyncio.create_task(granted(other.leases, ISSUER, NAME))

        for _ in range(3):
            nats.server.pause()
            await asyncio.sleep(0.5)
            nats.server.resume()
            await asyncio.sleep(0.5)

        assert lease.is_held()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_what_is_given_back_while_nats_is_gone_is_free_when_it_returns(nats: NatsEngine) -> None:
    async with nats.gateways(2) as (gateway, other):
        gateway.leases.set_watchers(ISSUER, NAME, 1)
        await granted(gateway.leases, ISSUER, NAME)
        other.leases.set_watchers(ISSUER, NAME, 1)
        waiting = asyncio.create_task(granted(other.leases, ISSUER, NAME))
        await asyncio.sleep(0.2)

        await nats.server.kill()
        gateway.leases.set_watchers(ISSUER, NAME, 0)
        await asyncio.sleep(0.2)
        await nats.server.restart()

        async with asyncio.timeout(10):
            assert (await waiting).is_held()
