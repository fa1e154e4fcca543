"""Storages over a NATS server."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

import pytest

from adapters.nats import NatsOpenError, NatsStorage
from gateway.errors import GatewayError, Reason
from gateway.settings import EventLogSettings, NatsSettings
from issuer.common.v1 import error_pb2
from sandbox.nats import NatsServer

__all__ = [
    "LOG_DOWN",
    "STORE_DOWN",
    "fresh_prefix",
    "open_error",
    "opened",
    "recovered",
    "settings_for_nats",
    "unavailable",
]

LOG_DOWN = error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE
STORE_DOWN = error_pb2.ERROR_REASON_STORE_UNAVAILABLE


def fresh_prefix() -> str:
    """Return an unused prefix."""
    return f"test-{secrets.token_hex(6)}"


def settings_for_nats(
    *servers: NatsServer, timeout_seconds: float = 5.0, replicas: Literal[1, 3, 5] = 1
) -> NatsSettings:
    """Return settings for servers, with an unused prefix."""
    return NatsSettings(
        servers=tuple(server.url for server in servers),
        prefix=fresh_prefix(),
        replicas=replicas,
        request_timeout_seconds=timeout_seconds,
    )


@asynccontextmanager
async def opened(
    settings: NatsSettings, tls: ssl.SSLContext | None = None, *, retention: EventLogSettings | None = None
) -> AsyncIterator[NatsStorage]:
    """Open a storage during the context."""
    storage = await NatsStorage.open(settings, tls, retention=retention)
    try:
        yield storage
    finally:
        await storage.close()


async def open_error(settings: NatsSettings, tls: ssl.SSLContext | None = None) -> str:
    """Try to open a storage that must not open. Returns the error's message."""
    before = asyncio.all_tasks()
    with pytest.raises(NatsOpenError) as raised:
        async with asyncio.timeout(30):
            await NatsStorage.open(settings, tls)
    assert asyncio.all_tasks() == before
    return str(raised.value)


@contextmanager
def unavailable(reason: Reason = LOG_DOWN) -> Iterator[None]:
    """Expect an error with a reason."""
    with pytest.raises(GatewayError) as raised:
        yield
    assert raised.value.reason == reason


async def recovered(storage: NatsStorage, *, within_seconds: float) -> None:
    """Wait until a storage works again."""
    async with asyncio.timeout(within_seconds):
        while True:
            try:
                await storage.log.bounds()
            except GatewayError:
                await asyncio.sleep(0.02)
            else:
                return


async def seconds_of(work: Awaitable[object]) -> float:
    """Return how long something takes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await work
    return loop.time() - began
