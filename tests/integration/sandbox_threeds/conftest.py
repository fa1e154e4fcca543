from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sandbox import Sandbox
from sandbox.threeds.contract import Delays
from tests.integration.sandbox.sandbox_caller import ManualClock, trusting
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def sandbox(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Sandbox]:
    delays = Delays(connection_timeout_seconds=0.01, decoupled_seconds=90.0)
    async with Sandbox.start(tmp_path / "pki", threeds_delays=delays, clock=clock) as running:
        yield running


@pytest.fixture
async def caller(sandbox: Sandbox, clock: ManualClock) -> AsyncIterator[ThreeDSCaller]:
    connector = aiohttp.TCPConnector(ssl=trusting(sandbox))
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield ThreeDSCaller(sandbox, session, clock)
