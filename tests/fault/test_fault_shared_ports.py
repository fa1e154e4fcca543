"""Gateways that share the ports and come and go under load: a client that retries is served, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage
from sandbox.nats import NatsServer
from tests.contract.card_rpcs import prepare
from tests.fault.retrying_load import Load

pytestmark = pytest.mark.timeout(180)

_MOST_CANCELLED = 1
_REUSED = {"grpc": {"reuse_port": True}, "edge": {"reuse_port": True}}


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two gateways on the same two ports, each with a folder and an admin port for itself."""

    config: GatewayConfig
    gateways: list[GatewayProcess]
    folders: tuple[Path, Path]

    @classmethod
    @asynccontextmanager
    async def running(cls, sandbox: Sandbox, folder: Path) -> AsyncIterator["_Pair"]:
        folders = folder / "one", folder / "other"
        for each in folders:
            each.mkdir()
        async with await NatsServer.start(folder / "nats") as nats, AsyncExitStack() as stack:
            shared = SharedStorage.make([nats.url], folder)
            config = replace(GatewayConfig.of(sandbox, folder, shared=shared), more=_REUSED)
            first = await GatewayProcess.start(config, folders[0])
            pair = cls(replace(config, grpc_port=_port(first.grpc), edge_port=_port(first.edge)), [first], folders)
            stack.push_async_callback(pair.stop)
            pair.gateways.append(await GatewayProcess.start(pair.config, folders[1]))
            sandbox.set_edge(first.edge)
            yield pair

    async def restart(self, number: int) -> int:
        """Restart one as systemd does: SIGTERM, and a new one once it is gone. Returns its exit status."""
        status = await self.gateways[number].stop()
        self.gateways[number] = await GatewayProcess.start(self.config, self.folders[number])
        return status

    async def stop(self) -> None:
        for gateway in self.gateways:
            await gateway.stop()


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "keys") as started:
        prepare(started.store)
        yield started


@pytest.fixture
async def pair(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[_Pair]:
    async with _Pair.running(sandbox, tmp_path) as running:
        yield running


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _assert_all_is_delivered_once(load: Load) -> None:
    print(dict(load.done), dict(load.stream_ends))  # noqa: T201 (shown if the test fails)
    assert load.done["rpcs"] > 100
    assert load.done["callbacks"] > 100
    assert load.done["rpcs CANCELLED"] <= _MOST_CANCELLED
    for received in load.received:
        assert len(received) == len(set(received)), "something was delivered twice"
        assert load.acknowledged <= set(received)


async def test_gateways_restarted_one_after_the_other_under_load_fail_nobody_who_retries(
    sandbox: Sandbox, pair: _Pair
) -> None:
    load = Load(sandbox, pair.gateways[0])
    statuses = []
    async with load.run():
        for number in (0, 1, 0, 1):
            await asyncio.sleep(0.5)
            statuses.append(await pair.restart(number))
        await asyncio.sleep(0.5)

    assert statuses == [0, 0, 0, 0]
    _assert_all_is_delivered_once(load)
    # Each watcher was with one gateway or the other, and went on with the next.
    assert set(load.stream_ends) == {"SERVER_DRAINING"}
    assert load.stream_ends["SERVER_DRAINING"] >= 4


async def test_a_gateway_killed_under_load_fails_nobody_who_retries(sandbox: Sandbox, pair: _Pair) -> None:
    load = Load(sandbox, pair.gateways[0], most_repeats=5)
    async with load.run():
        await asyncio.sleep(0.5)
        await pair.gateways[1].kill()
        await asyncio.sleep(1.0)

    _assert_all_is_delivered_once(load)
    assert set(load.stream_ends) <= {"UNAVAILABLE"}


async def test_a_gateway_that_is_to_have_its_ports_for_itself_does_not_join(pair: _Pair, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    with pytest.raises(RuntimeError, match=r"(grpc|edge): cannot listen on .*: Address already in use"):
        await GatewayProcess.start(replace(pair.config, more={}), folder)
