from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.integration.telemetry.operator_view import OperatorView
from tests.running import edge_session, running_gateway, settings_for


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("keys")) as started:
        yield started


@pytest.fixture(scope="module")
async def view(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OperatorView]:
    """A running gateway as operators see it."""
    async with _viewed(sandbox, tmp_path_factory.mktemp("gateway")) as view:
        yield view


@pytest.fixture
async def own_view(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[OperatorView]:
    """A gateway that no other test uses."""
    async with _viewed(sandbox, tmp_path) as view:
        yield view


@asynccontextmanager
async def _viewed(sandbox: Sandbox, folder: Path) -> AsyncIterator[OperatorView]:
    async with (
        running_gateway(sandbox, settings_for(sandbox, folder)) as running,
        edge_session(sandbox) as session,
    ):
        yield OperatorView(running, session)
