"""The key under which first replies are kept: in a file of its own, so that the database alone gives nothing away."""

import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.settings import SettingsError

__all__ = ["KEY_BYTES", "load", "load_or_make"]

KEY_BYTES: Final = 32

_SETTING: Final = "idempotency.key_file"
_FORM: Final = re.compile(rb"[0-9a-f]{%d}\n?" % (2 * KEY_BYTES))
_OTHERS: Final = 0o077


def load(path: Path) -> bytes:
    """Read the key.

    Args:
        path: A file that only its owner can read: 64 lower-case hexadecimal digits.

    Raises:
        SettingsError: It cannot be read, can be read by others, or holds something else.
    """
    try:
        with path.open("rb") as file:
            readable_by_others = os.fstat(file.fileno()).st_mode & _OTHERS
            content = file.read(2 * KEY_BYTES + 2)
    except OSError as error:
        raise SettingsError([f"{_SETTING}: {path} cannot be read: {error.strerror}"]) from error
    if readable_by_others:
        raise SettingsError([f"{_SETTING}: {path} can be read by others: chmod 600 it"])
    if _FORM.fullmatch(content) is None:
        raise SettingsError([f"{_SETTING}: {path} does not hold {2 * KEY_BYTES} lower-case hexadecimal digits"])
    return bytes.fromhex(content.decode())


def load_or_make(path: Path) -> bytes:
    """Read the key, made now if there is no such file. Of several that make it at the same time, one succeeds.

    Raises:
        SettingsError: As `load`; or it cannot be made.
    """
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            raise SettingsError([f"{_SETTING}: {path} cannot be made: {error.strerror}"]) from error
    return load(path)


def _make(path: Path) -> None:
    # Whole or not at all, whenever the power fails: it gets its name when it is on disk. mkstemp makes it 0600.
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
