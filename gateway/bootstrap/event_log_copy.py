"""The two storages of a copy, which the settings of one gateway name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.bootstrap.storage import open_embedded, open_shared
from gateway.ports import Engine, Storage
from gateway.settings import Settings, SettingsError
from gateway.tls.certificates import Certificates

__all__ = ["oldest_kept_ms", "opened"]


@asynccontextmanager
async def opened(settings: Settings, source: Engine, target: Engine) -> AsyncIterator[tuple[Storage, Storage]]:
    """Have both storages open for as long as the context lasts.

    Raises:
        SettingsError: One of them cannot be opened as the settings are, or is not there.
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


def oldest_kept_ms(settings: Settings, target: Engine, now_ms: int) -> int | None:
    """Tell what a target would not keep even for a moment, by the time at which it was taken; None if it keeps all.

    The file forgets what was taken too long ago. NATS forgets what it was given too long ago, which a copy begins anew.
    """
    if target is Engine.NATS:
        return None
    return now_ms - round(settings.event_log.retention_seconds * 1000)


async def _open(settings: Settings, engine: Engine, *, is_source: bool) -> Storage:
    if engine is Engine.NATS:
        if settings.nats is None:
            raise SettingsError(["nats: it is not set: a copy is between event_log.path and [nats]"])
        return await open_shared(settings, settings.nats, await asyncio.to_thread(Certificates, settings))
    path = settings.event_log.path
    if is_source and not await asyncio.to_thread(path.exists):
        raise SettingsError([f"event_log.path: there is no {path} to copy from"])
    # What is copied from stays as it is, in case that somebody wants to go back.
    return await open_embedded(settings, trims=not is_source)
