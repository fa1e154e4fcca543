"""Backups of an event log: what they say of themselves, and why one cannot be made or used."""

from dataclasses import dataclass

from gateway.ports.storage import Engine

__all__ = ["Backup", "BackupDamagedError", "BackupFailedError", "BackupUnusableError"]


class BackupUnusableError(Exception):
    """A file cannot be used, or not be written: it is missing, foreign, of a newer version, or in the way.

    The message names it, and what to do. Nothing was changed.
    """


class BackupDamagedError(Exception):
    """A backup is not as it was written. The message names the file. Nothing was changed."""


class BackupFailedError(Exception):
    """A backup or a restore failed midway, for example on a full disk. The message says so. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself."""

    engine: Engine
    """Where its log was."""
    log_id: str
    """The epoch of that log."""
    last: int
    """The last sequence of that log when the backup began."""
    events: int
    """The number of its notifications."""
    subscriptions: int
    """The number of its subscriptions."""
    schema: int
    """The version of the schema of its SQLite file."""
    version: str
    """The version of the gateway that made it."""
    time_ms: int
    """When it began, in milliseconds since 1970 (UTC)."""
    key_id: str
    """The id of the key of its idempotency records; empty if it has none."""
    size_bytes: int
    """The size of its SQLite file."""
