"""The audit trail: its folder, its key, and what happens when it cannot be written."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.settings.private_files import read_private
from gateway.settings.types import PrivateFile, Table

__all__ = ["AuditSettings", "read_audit_key"]

_DIGITS: Final = 64
_KEY: Final = re.compile(rb"[0-9a-f]{%d}\n?" % _DIGITS)


def read_audit_key(file: Path) -> bytes:
    """Return the key that a file holds as 64 lower-case hexadecimal digits.

    Raises:
        ValueError: The file cannot be read, is not private, or holds something else.
    """
    try:
        content = read_private(file, _DIGITS + 2)
    except OSError as error:
        raise ValueError(f"file not readable: {file} ({error.strerror})") from error
    if _KEY.fullmatch(content) is None:
        raise ValueError(f"{file} does not hold {_DIGITS} lower-case hexadecimal digits")
    return bytes.fromhex(content.decode())


def _with_key(file: Path) -> Path:
    read_audit_key(file)
    return file


class AuditSettings(Table):
    """The audit trail: every change that a caller made, and every call that was refused. See docs/audit.md."""

    folder: Path
    """Folder for the trail's files, into which others cannot write. A start makes it if it is missing, but not the
    folder above it."""
    key_file: Annotated[PrivateFile, AfterValidator(_with_key)] | None = None
    """Key that seals the lines: 64 lower-case hexadecimal digits. Unset: they are chained with SHA-256, which
    anyone who can write the files can compute anew."""
    ids: Literal["plain", "keyed", "masked"] = "plain"
    """How the ids of cards, consumers and app installations are written: as they are, except for what may be a card
    number; as HMAC-SHA256 under the key, so that the same id is always the same text; or by their last four
    characters."""
    if_unavailable: Literal["refuse_changes", "continue"] = "refuse_changes"
    """What happens to changes while the trail cannot be written: they are refused before anything is sent
    (AUDIT_UNAVAILABLE), or they are made, and lines for which there is no room in memory are lost and counted."""
    max_file_bytes: Annotated[int, Field(ge=65_536)] = 67_108_864
    """Size at which the next file begins. No file is ever deleted."""

    @model_validator(mode="after")
    def _keyed_with_a_key(self) -> "AuditSettings":
        if self.ids == "keyed" and self.key_file is None:
            raise ValueError('ids = "keyed" requires key_file')
        return self
