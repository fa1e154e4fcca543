from collections.abc import AsyncIterator

import pytest

from d1_gateway_client import AsyncGatewayClient, Options
from sandbox import Sandbox
from sandbox.common.pki import Pki, make_pki
from tests.clients.client_gateways import options_for
from tests.running import Running, running_gateway, settings_for


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("sandbox") / "keys") as started:
        yield started


@pytest.fixture(scope="module")
async def running(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """The module's gateway of the sandbox, in this process."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path_factory.mktemp("gateway"))) as started:
        yield started


@pytest.fixture(scope="module")
def options(running: Running) -> Options:
    """The options of a caller with all grants."""
    return options_for(running.addresses.grpc, running.sandbox.pki)


@pytest.fixture(scope="module")
async def client(options: Options) -> AsyncIterator[AsyncGatewayClient]:
    async with AsyncGatewayClient(options) as made:
        yield made


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("keys"))
