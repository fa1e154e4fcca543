import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.nats import NatsServer


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with await NatsServer.start(tmp_path / "server") as server:
        yield server
