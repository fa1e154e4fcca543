"""What holds for every test."""

import asyncio
import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest
import uvloop

# A process that uvloop starts is forked first, and grpc does not bear that while its threads run: neither what it does
# itself at a fork, nor that the child frees its objects. It reads this when it is imported; the processes that tests
# start are not to inherit it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc  # noqa: F401

del os.environ["GRPC_ENABLE_FORK_SUPPORT"]
os.register_at_fork(before=gc.disable, after_in_parent=gc.enable)

_TESTS: Final = Path(__file__).parent
_OF_PROCESSES: Final = ("e2e", "fault", "interop", "integration/log_copy", "integration/sandbox")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run a gateway that is in this process on the event loop that it runs on: sockets and signals are not asyncio's.

    Where gateways are processes, which have that loop anyway, tests run on asyncio's: it does not fork what it starts.
    """
    folder = item.path.relative_to(_TESTS)
    if any(folder.is_relative_to(each) for each in _OF_PROCESSES):
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
