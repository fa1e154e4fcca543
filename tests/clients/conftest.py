from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from d1_gateway_client import AsyncGatewayClient, Options
from sandbox import Sandbox
from sandbox.common.pki import Pki, make_pki
from tests.clients.client_gateways import options_for
from tests.running import Running, running_gateway, settings_for


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "keys") as started:
        yield started


@pytest.fixture
async def running(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway of the sandbox, in this process."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as started:
        yield started


@pytest.fixture
def options(running: Running) -> Options:
    """The options of a caller with all grants."""
    return options_for(running.addresses.grpc, running.sandbox.pki)


@pytest.fixture
async def client(options: Options) -> AsyncIterator[AsyncGatewayClient]:
    async with AsyncGatewayClient(options) as made:
        yield made


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("keys"))
