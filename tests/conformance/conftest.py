import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.ports import EventLog, KeyValueStore, Storage
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import NatsEngine, SqliteEngine, StorageEngine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a NATS server, so that others can run without them."""
    for item in items:
        if isinstance(item, pytest.Function):
            parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
            if "nats_server" in item.fixturenames or "nats" in parameters:
                item.add_marker(pytest.mark.nats_server)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with await NatsServer.start(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["sqlite", "nats"])
def storage_engine(request: pytest.FixtureRequest, tmp_path: Path) -> StorageEngine:
    if request.param == "sqlite":
        return SqliteEngine(tmp_path)
    return NatsEngine(request.getfixturevalue("nats_server"))


@pytest.fixture
def shared_engine(nats_server: NatsServer) -> StorageEngine:
    """An engine that several gateways can share."""
    return NatsEngine(nats_server)


@pytest.fixture(params=["sqlite", "nats"])
async def breakable_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageEngine]:
    """An engine that no other test uses."""
    if request.param == "sqlite":
        yield SqliteEngine(tmp_path)
    else:
        async with await NatsServer.start(tmp_path / "nats") as server:
            yield NatsEngine(server)


@pytest.fixture
async def storage(storage_engine: StorageEngine) -> AsyncIterator[Storage]:
    before = asyncio.all_tasks()
    async with storage_engine.opened() as storage:
        yield storage
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
def log(storage: Storage) -> EventLog:
    return storage.log


@pytest.fixture
def entries(storage: Storage) -> KeyValueStore:
    return storage.key_value_store
