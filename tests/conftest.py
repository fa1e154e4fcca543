"""What holds for every test."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop that the gateway runs on: its sockets, processes and signals are not asyncio's."""
    return {"uvloop": uvloop.new_event_loop}
