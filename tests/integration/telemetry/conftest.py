from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.integration.telemetry.operator_view import OperatorView
from tests.running import edge_session, running_gateway, settings_for


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path / "keys") as started:
        yield started


@pytest.fixture
async def view(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[OperatorView]:
    """A running gateway as operators see it."""
    async with (
        running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running,
        edge_session(sandbox) as session,
    ):
        yield OperatorView(running, session)
