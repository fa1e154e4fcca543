from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fault.faulty import Faulty, faulty_gateway


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[Faulty]:
    """A gateway with default settings."""
    async with faulty_gateway(tmp_path) as started:
        yield started
