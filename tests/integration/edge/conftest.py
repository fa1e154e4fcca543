from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.integration.edge.edge_caller import OAUTH, EdgeCaller
from tests.running import Running, edge_session, running_gateway, settings_for


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "keys", edge_credentials=OAUTH) as started:
        yield started


@pytest.fixture
async def running(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway whose edge requires a client certificate only."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as started:
        yield started


@pytest.fixture
async def caller(running: Running) -> AsyncIterator[EdgeCaller]:
    """D1's client of `running`, without a bearer token."""
    async with edge_session(running.sandbox) as session:
        yield EdgeCaller(running, session)


@pytest.fixture
async def guarded(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway whose edge requires a bearer token too."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path, oauth=OAUTH)) as started:
        yield started


@pytest.fixture
async def guarded_caller(guarded: Running) -> AsyncIterator[EdgeCaller]:
    """D1's client of `guarded`, without a bearer token yet."""
    async with edge_session(guarded.sandbox) as session:
        yield EdgeCaller(guarded, session)
