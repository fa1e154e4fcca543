"""The key of the idempotency records, in a separate file, so that the database alone reveals nothing."""

import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.settings import PrivateFileError, SettingsError, read_private

__all__ = ["KEY_BYTES", "load", "load_or_make"]

KEY_BYTES: Final = 32

_SETTING: Final = "idempotency.key_file"
_FORM: Final = re.compile(rb"[0-9a-f]{%d}\n?" % (2 * KEY_BYTES))


def load(path: Path) -> bytes:
    """Read the key.

    Args:
        path: A private file with 64 lower-case hexadecimal digits.

    Raises:
        SettingsError: The file cannot be read, is not private, or has other content.
    """
    try:
        content = read_private(path, 2 * KEY_BYTES + 2)
    except OSError as error:
        raise SettingsError([f"{_SETTING}: {path} cannot be read: {error.strerror}"]) from error
    except PrivateFileError as error:
        raise SettingsError([f"{_SETTING}: {error}"]) from error
    if _FORM.fullmatch(content) is None:
        raise SettingsError([f"{_SETTING}: {path} does not hold {2 * KEY_BYTES} lower-case hexadecimal digits"])
    return bytes.fromhex(content.decode())


def load_or_make(path: Path) -> bytes:
    """Read the key, after making it if there is no such file. Safe when several processes do so at once.

    Raises:
        SettingsError: As `load`, or the file cannot be created.
    """
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            raise SettingsError([f"{_SETTING}: {path} cannot be created: {error.strerror}"]) from error
    return load(path)


def _make(path: Path) -> None:
    # Atomic even if power fails: the file gets its name only once it is on disk. mkstemp makes it 0600.
    descriptor, unnamed = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{secrets.token_hex(KEY_BYTES)}\n".encode())
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(unnamed, path)
    finally:
        Path(unnamed).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
