"""The storage that the settings name: a file of this gateway's own, or one that it shares with others over NATS."""

import asyncio
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from adapters import sqlite
from gateway.idempotency import key_file
from gateway.ports import Storage
from gateway.settings import NatsSettings, Settings, SettingsError
from gateway.tls.certificates import Certificates

__all__ = ["check_storage", "open_embedded", "open_shared", "open_storage", "record_cipher_key"]


def check_storage(settings: Settings) -> None:
    """Look whether the settings of the storage can be used, without opening it.

    Raises:
        SettingsError: They cannot.
    """
    if settings.nats is None:
        _check_writable("event_log.path", settings.event_log.path.parent)
    else:
        _check_shared(settings, settings.nats)
    if settings.idempotency.key_file is not None:
        key_file.load(settings.idempotency.key_file)


async def open_storage(settings: Settings, certificates: Certificates) -> Storage:
    """Open the storage.

    Raises:
        SettingsError: It cannot be opened as the settings are.
    """
    if settings.nats is not None:
        return await open_shared(settings, settings.nats, certificates)
    return await open_embedded(settings)


async def open_embedded(settings: Settings, *, trims: bool = True) -> Storage:
    """Open the file of this gateway's own, whether or not it shares another storage.

    Args:
        settings: Name the file.
        trims: Whether notifications go as the settings say; otherwise all of them stay.

    Raises:
        SettingsError: It cannot be opened as the settings are.
    """
    event_log = settings.event_log
    try:
        return await sqlite.SqliteStorage.open(event_log.path, retention=event_log if trims else None)
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error


async def open_shared(settings: Settings, named: NatsSettings, certificates: Certificates) -> Storage:
    """Open what several gateways share.

    Raises:
        SettingsError: It cannot be opened as the settings are.
    """
    await asyncio.to_thread(_check_shared, settings, named)
    from gateway.bootstrap import nats  # noqa: PLC0415  it is there, as was just looked

    return await nats.open_shared(settings, named, certificates)


async def record_cipher_key(settings: Settings) -> bytes:
    """Load the key under which first replies are kept; made now if there is none and it is this gateway's own.

    Raises:
        SettingsError: It cannot be used.
    """
    place, named = settings.event_log.path, settings.idempotency.key_file
    beside = place.with_name(f"{place.name}.key")
    load = partial(key_file.load_or_make, beside) if named is None else partial(key_file.load, named)
    return await asyncio.to_thread(load)


def _check_shared(settings: Settings, named: NatsSettings) -> None:
    try:
        from gateway.bootstrap.nats import check_shared  # noqa: PLC0415  who shares nothing need not have the extra
    except ModuleNotFoundError as error:
        raise SettingsError([f"nats: {error.name} is not installed: pip install 'd1-gateway[nats]'"]) from error
    check_shared(settings, named)


def _check_writable(setting: str, folder: Path) -> None:
    try:
        # The only way to know: a file system may be read-only, whatever the folder's mode says.
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SettingsError([f"{setting}: the folder {folder} cannot be written: {error.strerror}"]) from error
