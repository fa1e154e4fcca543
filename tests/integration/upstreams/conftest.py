import asyncio
from collections.abc import AsyncIterator

import pytest

from adapters.d1.api import D1CardIssuer, D1Client
from adapters.threeds import HttpThreeDSServer
from tests.integration.upstreams.fake_d1 import FakeD1, client_at
from tests.integration.upstreams.fake_threeds import server_at
from tests.integration.upstreams.fake_upstream import FakeUpstream, running


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    # The last callbacks of closed connections.
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
async def d1() -> AsyncIterator[FakeD1]:
    async with running(FakeD1()) as started:
        yield started


@pytest.fixture
async def client(d1: FakeD1) -> AsyncIterator[D1Client]:
    async with client_at(d1.url) as connected:
        yield connected


@pytest.fixture
def cards(client: D1Client) -> D1CardIssuer:
    return D1CardIssuer(client)


@pytest.fixture
async def threeds() -> AsyncIterator[FakeUpstream]:
    async with running(FakeUpstream()) as started:
        yield started


@pytest.fixture
async def server(threeds: FakeUpstream) -> AsyncIterator[HttpThreeDSServer]:
    async with server_at(threeds.url) as connected:
        yield connected
