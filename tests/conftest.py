"""What holds for every test."""

import asyncio
import os
from collections.abc import Callable, Mapping

import uvloop

# A process that uvloop starts is forked first, and grpc does not bear that while its threads run. It reads this when it
# is imported; the processes that tests start are not to inherit it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc  # noqa: F401

del os.environ["GRPC_ENABLE_FORK_SUPPORT"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop that the gateway runs on: its sockets, processes and signals are not asyncio's."""
    return {"uvloop": uvloop.new_event_loop}
