"""The embedded event log: one SQLite file, for a gateway that runs on one machine."""

from adapters.sqlite.database import EventLogOpenError
from adapters.sqlite.log import SqliteEventLog
from adapters.sqlite.retention import Retention

__all__ = ["EventLogOpenError", "Retention", "SqliteEventLog"]
