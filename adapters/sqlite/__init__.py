"""The embedded storage: one SQLite file, for a gateway on one machine."""

from adapters.sqlite.backup import back_up, describe, unfinished
from adapters.sqlite.database import EventLogOpenError
from adapters.sqlite.event_log import SqliteEventLog
from adapters.sqlite.key_value_store import SqliteKeyValueStore
from adapters.sqlite.leases import SqliteLeases
from adapters.sqlite.restore import Restored, extract, restore
from adapters.sqlite.seal import read as read_backup
from adapters.sqlite.seal import verify as verify_backup
from adapters.sqlite.snapshot import damage_of, is_current, is_current_backup, looking_at, read_statistics
from adapters.sqlite.storage import SqliteStorage

__all__ = [
    "EventLogOpenError",
    "Restored",
    "SqliteEventLog",
    "SqliteKeyValueStore",
    "SqliteLeases",
    "SqliteStorage",
    "back_up",
    "damage_of",
    "describe",
    "extract",
    "is_current",
    "is_current_backup",
    "looking_at",
    "read_backup",
    "read_statistics",
    "restore",
    "unfinished",
    "verify_backup",
]
