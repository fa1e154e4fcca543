from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from sandbox import Sandbox
from sandbox.common.tls import browser_context
from sandbox.threeds.contract import Delays
from tests.integration.sandbox.sandbox_caller import ManualClock
from tests.integration.sandbox_threeds.threeds_sandbox_caller import ThreeDSCaller


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ThreeDSCaller]:
    clock, delays = ManualClock(), Delays(connection_timeout_seconds=0.01, decoupled_seconds=90.0)
    async with Sandbox.start(tmp_path_factory.mktemp("pki"), threeds_delays=delays, clock=clock) as sandbox:
        connector = aiohttp.TCPConnector(ssl=browser_context(sandbox.pki.server_ca))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield ThreeDSCaller(sandbox, session, clock)


@pytest.fixture
def caller(shared: ThreeDSCaller) -> Iterator[ThreeDSCaller]:
    """A caller of a server without faults, whose clock only goes forward."""
    yield shared
    shared.sandbox.faults.clear()
