from collections.abc import AsyncIterator

import pytest

from tests.fault.attacks.attacked import Attacked, attacked_gateway


@pytest.fixture(scope="module")
async def attacked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attacked]:
    """A gateway process with default settings, and its D1."""
    async with attacked_gateway(tmp_path_factory.mktemp("attacked")) as started:
        yield started
