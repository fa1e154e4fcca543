"""The embedded storage: one SQLite file, for a gateway on one machine."""

from adapters.sqlite.database import EventLogOpenError
from adapters.sqlite.event_log import SqliteEventLog
from adapters.sqlite.key_value_store import SqliteKeyValueStore
from adapters.sqlite.leases import SqliteLeases
from adapters.sqlite.snapshot import read_statistics
from adapters.sqlite.storage import SqliteStorage

__all__ = [
    "EventLogOpenError",
    "SqliteEventLog",
    "SqliteKeyValueStore",
    "SqliteLeases",
    "SqliteStorage",
    "read_statistics",
]
