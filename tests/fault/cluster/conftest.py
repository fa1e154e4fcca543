import os
import random
from collections.abc import AsyncIterator

import pytest

from tests.fault.cluster.stage import Stage, staged

_SEED = "D1_FAULT_SEED"


@pytest.fixture
def seed() -> str:
    """The seed of all random choices in a test; set it to that of a failed run to reproduce it."""
    chosen = os.environ.get(_SEED) or str(random.SystemRandom().getrandbits(32))
    # Shown by pytest if the test fails.
    print(f"{_SEED}={chosen}")  # noqa: T201
    return chosen


@pytest.fixture(scope="module")
async def stage_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("cluster")) as stage:
        yield stage


@pytest.fixture
async def cluster(stage_of_module: Stage) -> Stage:
    """The stage that the tests of a module share, repaired after a failed test."""
    await stage_of_module.heal()
    return stage_of_module
