from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sandbox import Sandbox
from tests.integration.sandbox.sandbox_caller import Caller, ManualClock, authenticated


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def sandbox(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "pki", clock=clock) as running:
        yield running


@pytest.fixture
async def stranger(sandbox: Sandbox, clock: ManualClock) -> AsyncIterator[Caller]:
    """A caller with the right certificate, but without an access token."""
    connector = aiohttp.TCPConnector(ssl=authenticated(sandbox))
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Caller(sandbox, session, clock)


@pytest.fixture
async def caller(stranger: Caller) -> Caller:
    """A caller with an access token."""
    await stranger.sign_in()
    return stranger
