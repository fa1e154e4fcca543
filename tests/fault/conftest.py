from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fault.faulty import Faulty, faulty_gateway


@pytest.fixture(scope="module")
async def faulty_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faulty]:
    async with faulty_gateway(tmp_path_factory.mktemp("faulty")) as started:
        yield started


@pytest.fixture
async def faulty(faulty_of_module: Faulty) -> Faulty:
    """The module's gateway with default settings. It has a token and connections, and no open circuit."""
    await faulty_of_module.recover()
    return faulty_of_module


@pytest.fixture
async def new_gateway(tmp_path: Path) -> AsyncIterator[Faulty]:
    """A gateway with default settings that has not called anybody yet."""
    async with faulty_gateway(tmp_path) as started:
        yield started
