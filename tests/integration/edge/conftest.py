from collections.abc import AsyncIterator

import aiohttp
import pytest

from sandbox import Sandbox
from tests.integration.edge.edge_caller import OAUTH, EdgeCaller
from tests.running import Running, edge_session, running_gateway, settings_for


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("sandbox"), edge_credentials=OAUTH) as started:
        yield started


@pytest.fixture(scope="module")
async def session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """D1's client, with its certificate."""
    async with edge_session(sandbox) as opened:
        yield opened


@pytest.fixture(scope="module")
async def running(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A gateway whose edge requires a client certificate only."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path_factory.mktemp("running"))) as started:
        yield started


@pytest.fixture
async def caller(running: Running, session: aiohttp.ClientSession) -> EdgeCaller:
    """D1's client of `running`, without a bearer token."""
    return await EdgeCaller.of(running, session)


@pytest.fixture(scope="module")
async def guarded(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A gateway whose edge requires a bearer token too."""
    folder = tmp_path_factory.mktemp("guarded")
    async with running_gateway(sandbox, settings_for(sandbox, folder, oauth=OAUTH)) as started:
        yield started


@pytest.fixture
async def guarded_caller(guarded: Running, session: aiohttp.ClientSession) -> EdgeCaller:
    """D1's client of `guarded`, without a bearer token yet."""
    return await EdgeCaller.of(guarded, session)
