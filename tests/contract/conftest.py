from collections.abc import AsyncIterator

import pytest

from sandbox import Sandbox
from tests.contract.authenticating import Authenticating, authenticating_in
from tests.contract.card_rpcs import prepare
from tests.running import Running, running_gateway, settings_for


@pytest.fixture(scope="module")
async def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("sandbox") / "keys") as started:
        yield started


@pytest.fixture(scope="module")
async def shared_gateway(shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    used = settings_for(shared_sandbox, tmp_path_factory.mktemp("gateway"))
    async with running_gateway(shared_sandbox, used) as started:
        yield started


@pytest.fixture(scope="module")
async def shared_gateway_of_two(
    shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    used = settings_for(shared_sandbox, tmp_path_factory.mktemp("gateway-of-two"), second_issuer=True)
    async with running_gateway(shared_sandbox, used) as started:
        yield started


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """The module's D1, reset to an active and a suspended card, see `tests.contract.card_rpcs`."""
    shared_sandbox.faults.clear()
    shared_sandbox.authenticators._enrolled.clear()
    shared_sandbox.history._operations.clear()
    shared_sandbox.store._cards.clear()
    shared_sandbox.store._consumers.clear()
    shared_sandbox.store._used_pans.clear()
    prepare(shared_sandbox.store)
    return shared_sandbox


@pytest.fixture
def running(sandbox: Sandbox, shared_gateway: Running) -> Running:
    """The module's gateway for the sandbox's only issuer. It keeps what earlier tests stored."""
    sandbox.set_edge(shared_gateway.edge)
    return shared_gateway


@pytest.fixture
def running_two(sandbox: Sandbox, shared_gateway_of_two: Running) -> Running:
    """The module's gateway for two issuers, `SANDBOX001` and `tests.running.SECOND_ISSUER`."""
    sandbox.set_edge(shared_gateway_of_two.edge)
    return shared_gateway_of_two


@pytest.fixture(scope="module")
async def shared_authenticating(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Authenticating]:
    async with authenticating_in(tmp_path_factory.mktemp("authenticating")) as started:
        yield started


@pytest.fixture
def authenticating(shared_authenticating: Authenticating) -> Authenticating:
    """The module's gateway with a 3-D Secure server without faults, whose clock tests advance."""
    shared_authenticating.sandbox.faults.clear()
    return shared_authenticating
