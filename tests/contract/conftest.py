from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.contract.authenticating import Authenticating, authenticating_in
from tests.contract.card_rpcs import prepare
from tests.running import Running, running_gateway, settings_for


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A D1 with an active and a suspended card, see `tests.contract.card_rpcs`."""
    async with Sandbox.start(tmp_path / "keys") as started:
        prepare(started.store)
        yield started


@pytest.fixture
async def running(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway for the sandbox's only issuer."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as started:
        yield started


@pytest.fixture
async def running_two(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway for two issuers, `SANDBOX001` and `tests.running.SECOND_ISSUER`."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path, second_issuer=True)) as started:
        yield started


@pytest.fixture
async def authenticating(tmp_path: Path) -> AsyncIterator[Authenticating]:
    """A gateway with a 3-D Secure server whose clock tests advance."""
    async with authenticating_in(tmp_path) as started:
        yield started
