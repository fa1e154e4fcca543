from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sandbox import Sandbox
from tests.integration.sandbox.sandbox_caller import Caller, ManualClock, authenticated
from tests.integration.sandbox.sandbox_edge import Edge
from tests.integration.sandbox.sandbox_operator import Operator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def sandbox(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "pki", clock=clock) as running:
        yield running


@pytest.fixture
async def stranger(sandbox: Sandbox, clock: ManualClock) -> AsyncIterator[Caller]:
    """A client with the right certificate, but without an access token."""
    connector = aiohttp.TCPConnector(ssl=authenticated(sandbox))
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Caller(sandbox, session, clock)


@pytest.fixture
async def caller(stranger: Caller) -> Caller:
    """A client with an access token."""
    await stranger.sign_in()
    return stranger


@pytest.fixture
async def edge(sandbox: Sandbox) -> AsyncIterator[Edge]:
    async with Edge().serve(sandbox) as serving:
        sandbox.set_edge(serving.url)
        yield serving


@pytest.fixture
async def operator(sandbox: Sandbox) -> AsyncIterator[Operator]:
    async with aiohttp.ClientSession(sandbox.control_url) as session:
        yield Operator(session)
