import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sandbox.nats import NatsCluster, NatsServer
from tests.integration.nats.nats_gateways import Gateways, two_gateways


@asynccontextmanager
async def nothing_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture(scope="module", autouse=True)
async def nothing_is_left_running_in_the_end() -> AsyncIterator[None]:
    async with nothing_left_running():
        yield


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    async with nothing_left_running():
        yield


@pytest.fixture(scope="module")
async def server_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with await NatsServer.start(tmp_path_factory.mktemp("nats") / "server") as server:
        yield server


@pytest.fixture
async def server(server_of_module: NatsServer) -> AsyncIterator[NatsServer]:
    """The module's server, on which each test has a prefix of its own. It runs again whatever a test did to it."""
    yield server_of_module
    await _run_again(server_of_module)


@pytest.fixture(scope="module")
async def gateways(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateways]:
    """The module's two gateways, on a server of their own."""
    async with two_gateways(tmp_path_factory.mktemp("gateways")) as started:
        yield started


@pytest.fixture(scope="module")
async def cluster_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsCluster]:
    async with await NatsCluster.start(tmp_path_factory.mktemp("nats") / "cluster") as cluster:
        yield cluster


@pytest.fixture
async def cluster(cluster_of_module: NatsCluster) -> AsyncIterator[NatsCluster]:
    """The module's cluster of three servers, like `server`."""
    yield cluster_of_module
    await asyncio.gather(*map(_run_again, cluster_of_module.servers))


async def _run_again(server: NatsServer) -> None:
    if server.pid:
        server.resume()
    else:
        await server.restart()
