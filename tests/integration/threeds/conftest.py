import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.threeds import HttpThreeDSServer
from tests.integration.threeds.fake_threeds import FakeThreeDS, running_threeds, server_at


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    # The last callbacks of closed connections.
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
async def threeds() -> AsyncIterator[FakeThreeDS]:
    async with running_threeds() as running:
        yield running


@pytest.fixture
async def server(threeds: FakeThreeDS) -> AsyncIterator[HttpThreeDSServer]:
    async with server_at(threeds.url) as connected:
        yield connected
