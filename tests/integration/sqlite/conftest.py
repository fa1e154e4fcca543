import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.sqlite import SqliteEventLog
from tests.integration.sqlite.sqlite_events import opened


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("event-log")] == []
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqliteEventLog]:
    async with opened(path) as log:
        yield log
