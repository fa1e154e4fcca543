from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.sqlite.database import connect_writer, open_database
from adapters.sqlite.events import Appender
from sandbox.nats import NatsServer
from tests.integration.event_log_copy.copy_stage import Stage, make_backup, notifications


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async with await NatsServer.start(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def stage(nats_server: NatsServer, tmp_path: Path) -> Stage:
    return Stage(nats_server, tmp_path)


@pytest.fixture
def backup(stage: Stage) -> Path:
    """A backup of the log at the stage, which has no more than that."""
    file, database = stage.folder / "backup.db", open_database(stage.file)
    with closing(database), closing(connect_writer(database)) as connection:
        Appender(connection).append(notifications(50, seed=41))
        make_backup(stage.file, file)
    return file
