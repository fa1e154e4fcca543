"""Opens the storage that the settings name: SQLite for a single gateway, or NATS for a cluster."""

import asyncio
from pathlib import Path
from tempfile import TemporaryFile

from adapters import sqlite
from gateway.idempotency import key_check, key_file
from gateway.idempotency.encryption import RecordCipher
from gateway.ports import KeyValueStore, Storage
from gateway.settings import NatsSettings, Settings, SettingsError
from gateway.tls.certificates import Certificates

__all__ = ["check_storage", "key_file_of", "open_embedded", "open_shared", "open_storage", "record_cipher"]


def check_storage(settings: Settings) -> None:
    """Check the storage's settings without opening it.

    Raises:
        SettingsError: They cannot be used.
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
        SettingsError: It cannot be opened with the settings.
    """
    if settings.nats is not None:
        return await open_shared(settings, settings.nats, certificates)
    return await open_embedded(settings)


async def open_embedded(settings: Settings, *, trims: bool = True) -> Storage:
    """Open this gateway's SQLite file, whether or not the settings also name a shared storage.

    Args:
        settings: All settings.
        trims: Whether retention applies; otherwise all notifications stay.

    Raises:
        SettingsError: It cannot be opened with the settings.
    """
    event_log = settings.event_log
    try:
        return await sqlite.SqliteStorage.open(event_log.path, retention=event_log if trims else None)
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error


async def open_shared(
    settings: Settings, named: NatsSettings, certificates: Certificates, *, creates: bool = True
) -> Storage:
    """Open the storage that a cluster shares.

    Args:
        settings: All settings.
        named: Those of NATS.
        certificates: The gateway's.
        creates: Whether it may be missing.

    Raises:
        SettingsError: It cannot be opened with the settings.
    """
    await asyncio.to_thread(_check_shared, settings, named)
    from gateway.bootstrap import nats  # noqa: PLC0415  the extra is installed, as was just checked

    return await nats.open_shared(settings, named, certificates, creates=creates)


async def record_cipher(settings: Settings, store: KeyValueStore) -> RecordCipher:
    """Return the encryption of the storage's idempotency records.

    Without a configured key file, one beside the event log has the key, and is created at the first start.

    Raises:
        SettingsError: The key cannot be used, or is not that of the storage's records.
    """
    idempotency = settings.idempotency
    return await key_check.open_cipher(
        store,
        key_file_of(settings),
        is_default=idempotency.key_file is None,
        forgotten_key_id=idempotency.forget_records_of,
    )


def key_file_of(settings: Settings) -> Path:
    """Return the file that has the key of the idempotency records, or will have it after the first start."""
    event_log = settings.event_log.path
    return settings.idempotency.key_file or event_log.with_name(f"{event_log.name}.key")


def _check_shared(settings: Settings, named: NatsSettings) -> None:
    try:
        from gateway.bootstrap.nats import check_shared  # noqa: PLC0415  the extra is optional
    except ModuleNotFoundError as error:
        raise SettingsError([f"nats: {error.name} is not installed; install the extra nats"]) from error
    check_shared(settings, named)


def _check_writable(setting: str, folder: Path) -> None:
    try:
        # Only writing proves it: a file system may be read-only, whatever the folder's mode.
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SettingsError([f"{setting}: the folder {folder} is not writable: {error.strerror}"]) from error
