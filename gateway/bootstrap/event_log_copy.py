"""Opens the storages that the commands of the event log work on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.bootstrap.storage import open_embedded, open_shared
from gateway.ports import Engine, Storage
from gateway.settings import Settings, SettingsError
from gateway.tls.certificates import Certificates

__all__ = ["oldest_kept_ms", "opened", "opened_alone"]


@asynccontextmanager
async def opened(settings: Settings, source: Engine, target: Engine) -> AsyncIterator[tuple[Storage, Storage]]:
    """Provide both storages for as long as the context lasts.

    Raises:
        SettingsError: A storage does not exist, or cannot be opened with the settings.
    """
    first = await _open(settings, source, is_source=True)
    try:
        second = await _open(settings, target, is_source=False)
        try:
            yield first, second
        finally:
            await second.close()
    finally:
        await first.close()


@asynccontextmanager
async def opened_alone(settings: Settings, *, creates: bool = False) -> AsyncIterator[Storage]:
    """Provide the storage that the gateway uses for as long as the context lasts.

    Raises:
        SettingsError: It does not exist and is not to be created, or cannot be opened with the settings.
    """
    engine = Engine.SQLITE if settings.nats is None else Engine.NATS
    storage = await _open(settings, engine, is_source=not creates, creates=creates)
    try:
        yield storage
    finally:
        await storage.close()


def oldest_kept_ms(settings: Settings, target: Engine, now_ms: int) -> int | None:
    """Return the oldest time of receipt that a target keeps, in milliseconds since 1970; None if it keeps all.

    SQLite removes what was received too long ago. NATS removes what was stored too long ago, and a copy is stored anew.
    """
    if target is Engine.NATS:
        return None
    return now_ms - round(settings.event_log.retention_seconds * 1000)


async def _open(settings: Settings, engine: Engine, *, is_source: bool, creates: bool = True) -> Storage:
    if engine is Engine.NATS:
        if settings.nats is None:
            raise SettingsError(["nats: not set; a copy is between event_log.path and [nats]"])
        certificates = await asyncio.to_thread(Certificates, settings)
        return await open_shared(settings, settings.nats, certificates, creates=creates)
    path = settings.event_log.path
    if is_source and not await asyncio.to_thread(path.exists):
        raise SettingsError([f"event_log.path: {path} does not exist"])
    # The source stays unchanged, in case somebody wants to go back to it.
    return await open_embedded(settings, trims=not is_source)
