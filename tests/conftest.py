"""What holds for every test."""

import asyncio
import gc
import os
from collections.abc import Callable, Mapping

import uvloop

# A process that uvloop starts is forked first, and grpc does not bear that while its threads run: neither what it does
# itself at a fork, nor that the child frees its objects. It reads this when it is imported; the processes that tests
# start are not to inherit it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc  # noqa: F401

del os.environ["GRPC_ENABLE_FORK_SUPPORT"]
os.register_at_fork(before=gc.disable, after_in_parent=gc.enable)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop that the gateway runs on: its sockets, processes and signals are not asyncio's."""
    return {"uvloop": uvloop.new_event_loop}
