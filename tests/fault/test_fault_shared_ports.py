"""Gateways that share the ports and come and go under load: a client that retries is served, and nothing is lost."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.gateway import GatewayProcess
from sandbox.nats import NatsServer
from tests.fault.processes import Processes, processes
from tests.fault.retrying_load import Load

pytestmark = pytest.mark.timeout(180)

_MOST_CANCELLED = 1


@pytest.fixture(scope="module")
async def pair_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    folder = tmp_path_factory.mktemp("pair")
    more = {"grpc": {"reuse_port": True}, "edge": {"reuse_port": True}}
    async with (
        await NatsServer.start(folder / "nats") as nats,
        processes(folder, 2, [nats.url], more=more, have_same_ports=True) as pair,
    ):
        yield pair


@pytest.fixture
async def pair(pair_of_module: Processes) -> Processes:
    """Two gateways on the same two ports, each with a folder and an admin port for itself."""
    await pair_of_module.heal()
    return pair_of_module


def _assert_all_is_delivered_once(load: Load) -> None:
    print(dict(load.done), dict(load.stream_ends))  # noqa: T201 (shown if the test fails)
    assert load.done["rpcs CANCELLED"] <= _MOST_CANCELLED
    for received in load.received:
        assert len(received) == len(set(received)), "something was delivered twice"
        assert load.acknowledged <= set(received)


async def test_gateways_restarted_one_after_the_other_under_load_fail_nobody_who_retries(pair: Processes) -> None:
    load = Load(pair.sandbox, pair.gateways[0])
    statuses = []
    async with load.run():
        for number in (0, 1):
            await load.goes_on()
            # As systemd does: a new one starts once the former is gone.
            statuses.append(await pair.stop(number))
            await pair.start(number)
        await load.goes_on()

    assert statuses == [0, 0]
    _assert_all_is_delivered_once(load)
    # Each watcher was with one gateway or the other, and went on with the next.
    assert set(load.stream_ends) == {"SERVER_DRAINING"}
    assert load.stream_ends["SERVER_DRAINING"] >= 4


async def test_a_gateway_killed_under_load_fails_nobody_who_retries(pair: Processes) -> None:
    load = Load(pair.sandbox, pair.gateways[0], most_repeats=5)
    async with load.run():
        await load.goes_on()
        await pair.kill(1)
        await load.goes_on()

    _assert_all_is_delivered_once(load)
    assert set(load.stream_ends) <= {"UNAVAILABLE"}


async def test_a_gateway_that_is_to_have_its_ports_for_itself_does_not_join(pair: Processes, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(grpc|edge): cannot listen on .*: Address already in use"):
        await GatewayProcess.start(replace(pair.configs[0], more={}), tmp_path)
