"""Holds a storage to the key of its idempotency records.

Under another key they are not found, and a change that is repeated would be sent again. So the storage has the id of
its key, from the first start on.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeVar

import structlog

from gateway.errors import GatewayError
from gateway.idempotency import key_file
from gateway.idempotency.encryption import RecordCipher
from gateway.ports import KeyValueStore
from gateway.settings import SettingsError

__all__ = ["KEY_ID_ENTRY", "open_cipher"]

KEY_ID_ENTRY: Final = "idempotency-key-id"
"""The entry of the key-value store that has the id of the key of its records."""

_ID: Final = re.compile(rb"[0-9a-f]{16}")
_FOR_EVER_SECONDS: Final = 100 * 365 * 86_400.0
_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.5

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


async def open_cipher(
    store: KeyValueStore, file: Path, *, is_default: bool, forgotten_key_id: str | None
) -> RecordCipher:
    """Load the key, and make sure that the storage's records were made with it.

    Args:
        store: Holds the records.
        file: The key file.
        is_default: Whether the file is made if neither it nor a key of the storage exists.
        forgotten_key_id: Id of a key whose records may be given up.

    Raises:
        SettingsError: The key cannot be read, or made; it is not the storage's, and that one's records are not to be
            given up; the storage does not answer.
    """
    load = key_file.load_or_make if is_default else key_file.load
    found = await _patiently(lambda: store.get(KEY_ID_ENTRY))
    known = None if found is None else _readable(found)
    if known is not None and known != forgotten_key_id and is_default and not await asyncio.to_thread(file.exists):
        # A new one would not fit, and the lost one may turn up.
        raise _refused(known, f"{file} is missing")
    cipher = RecordCipher(await asyncio.to_thread(load, file))
    if known is None or known == forgotten_key_id:
        known = await _bind(store, cipher.key_id, found)
    if known != cipher.key_id:
        raise _refused(known, f"{file} holds the key {cipher.key_id}")
    return cipher


async def _bind(store: KeyValueStore, key_id: str, former: bytes | None) -> str:
    """Make a key the storage's, and return the id of the storage's key: another one if another gateway was first."""
    if former is not None and former != key_id.encode():
        await _patiently(lambda: store.delete(KEY_ID_ENTRY, former))
        _log.warning("idempotency_records_forgotten", key_id=_readable(former))
    other = await _patiently(lambda: store.put_if_absent(KEY_ID_ENTRY, key_id.encode(), _FOR_EVER_SECONDS))
    return key_id if other is None else _readable(other)


def _readable(stored: bytes) -> str:
    # The settings have to be able to name a damaged one, too.
    return stored.decode() if _ID.fullmatch(stored) else blake2b(stored, digest_size=8).hexdigest()


def _refused(known: str, problem: str) -> SettingsError:
    text = (
        f"idempotency.key_file: the storage has records of changes under the key {known}, but {problem}. A change that "
        "a caller repeats would be sent a second time. Put the key of the records back; if it is lost, give them up: "
        f'idempotency.forget_records_of = "{known}"'
    )
    return SettingsError([text])


async def _patiently(work: Callable[[], Awaitable[_T]]) -> _T:
    """Retry what servers that have just started may not be ready for."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await work()
        except GatewayError:
            await asyncio.sleep(_PAUSE_SECONDS)
    try:
        return await work()
    except GatewayError as error:
        raise SettingsError([f"idempotency: the key of the records cannot be checked: {error.message}"]) from error
