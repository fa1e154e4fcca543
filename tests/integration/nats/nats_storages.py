"""Storages over a NATS server."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

import pytest

from adapters.nats import NatsOpenError, NatsStorage
from gateway.errors import GatewayError, Reason
from gateway.settings import EventLogSettings, NatsSettings
from sandbox.nats import NatsCluster, NatsServer
from tests.conformance.storage_engines import LOG_DOWN

__all__ = [
    "NO_SERVER",
    "disconnected",
    "leader_of",
    "open_error",
    "opened",
    "recovered",
    "settings_for_nats",
    "unavailable",
]

NO_SERVER = "nats://127.0.0.1:1"
"""Nothing listens there."""
_PATIENCE_SECONDS = 30.0
"""A limit that nothing here exceeds even on a busy machine."""


def settings_for_nats(
    *servers: NatsServer, timeout_seconds: float = 5.0, replicas: Literal[1, 3, 5] = 1
) -> NatsSettings:
    """Return settings for servers, with an unused prefix."""
    return NatsSettings(
        servers=tuple(server.url for server in servers),
        prefix=f"test-{secrets.token_hex(6)}",
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
    with pytest.raises(NatsOpenError) as raised:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await NatsStorage.open(settings, tls)
    return str(raised.value)


@contextmanager
def unavailable(reason: Reason = LOG_DOWN) -> Iterator[None]:
    """Expect an error with a reason."""
    with pytest.raises(GatewayError) as raised:
        yield
    assert raised.value.reason == reason


async def disconnected(storage: NatsStorage) -> None:
    """Wait until a storage has noticed that its connection is lost."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while storage.connection.is_connected:  # noqa: ASYNC110  it tells only its own parts
            await asyncio.sleep(0.01)


async def recovered(storage: NatsStorage, *, within_seconds: float = _PATIENCE_SECONDS) -> None:
    """Wait until a storage works again."""
    async with asyncio.timeout(within_seconds):
        while True:
            try:
                await storage.log.bounds()
            except GatewayError:
                await asyncio.sleep(0.02)
            else:
                return


async def leader_of(cluster: NatsCluster, stream: str) -> NatsServer:
    """Return the server that leads a stream, as soon as one does."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while (leader := await cluster.leader(stream)) is None:  # noqa: ASYNC110  servers announce it to nobody
            await asyncio.sleep(0.05)
    return leader
