from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.nats import NatsServer
from tests.integration.event_log_copy.copy_stage import Stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with await NatsServer.start(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def stage(nats_server: NatsServer, tmp_path: Path) -> Stage:
    return Stage(nats_server, tmp_path)
