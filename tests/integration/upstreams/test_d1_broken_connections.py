"""Connections to D1 that are lost in the moment in which they are made."""

import asyncio
import gc
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.http.connection import ExchangeError
from tests.integration.upstreams.raw_server import exchange, pool_at

_ATTEMPTS = 200


@asynccontextmanager
async def resetting() -> AsyncIterator[int]:
    """Have a server that resets each connection at once; returns its port."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)

        async def reset() -> None:
            while True:
                connection, _ = await loop.sock_accept(listening)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        resets = asyncio.create_task(reset())
        yield listening.getsockname()[1]
        resets.cancel()
        await asyncio.gather(resets, return_exceptions=True)


async def test_a_connection_that_is_reset_at_once_closes_no_descriptor_of_somebody_else(tmp_path: Path) -> None:
    opened = []
    async with resetting() as port, pool_at(f"https://127.0.0.1:{port}", ssl.create_default_context()) as pool:
        for number in range(_ATTEMPTS):
            with pytest.raises(ExchangeError):
                await exchange(pool)
            # Takes the number that the connection had, if that is free.
            opened.append((tmp_path / str(number)).open("wb"))
            gc.collect(0)
    gc.collect()

    for file in opened:
        os.fstat(file.fileno())
        file.close()
