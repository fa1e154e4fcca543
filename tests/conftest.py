"""Settings and fixtures of all tests."""

import asyncio
import gc
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
import uvloop

from gateway.grpc_api.poller import choose_poller

# gRPC does not support a fork while its threads run, neither its own handling of forks nor the child's release of its
# objects, and uvloop forks to start processes. gRPC reads this variable on import; processes started by tests must not
# inherit it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
choose_poller()
import grpc  # noqa: E402, F401

del os.environ["GRPC_ENABLE_FORK_SUPPORT"]
os.register_at_fork(before=gc.disable, after_in_parent=gc.enable)

_SEED: Final = "D1_TEST_SEED"
_TESTS: Final = Path(__file__).parent
_OF_PROCESSES: Final = ("e2e", "fault", "interop", "integration/event_log_copy", "integration/sandbox", "upgrade")


def pytest_collection_finish() -> None:
    """Keep what thousands of tests consist of out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run in-process gateways on their production event loop, as its sockets and signals differ from asyncio's.

    Tests whose gateways are processes run on asyncio's loop, which does not fork to start them.
    """
    folder = item.path.relative_to(_TESTS)
    if any(folder.is_relative_to(each) for each in _OF_PROCESSES):
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def seed() -> str:
    """The seed of all random choices in a test; set it to that of a failed run to reproduce it."""
    chosen = os.environ.get(_SEED) or str(random.SystemRandom().getrandbits(32))
    # Shown by pytest if the test fails.
    print(f"{_SEED}={chosen}")  # noqa: T201
    return chosen
