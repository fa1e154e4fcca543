"""The embedded storage: the event log and the key-value store in one SQLite file, for a gateway on one machine."""

from adapters.sqlite.database import EventLogOpenError
from adapters.sqlite.leases import SqliteLeases
from adapters.sqlite.log import SqliteEventLog
from adapters.sqlite.storage import SqliteStorage
from adapters.sqlite.store import SqliteKeyValueStore

__all__ = ["EventLogOpenError", "SqliteEventLog", "SqliteKeyValueStore", "SqliteLeases", "SqliteStorage"]
