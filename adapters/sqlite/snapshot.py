"""A look at the file of an event log, beside the gateway that uses it: nothing is locked, nothing is written."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from adapters.sqlite import schema, subscriptions
from adapters.sqlite.check import find_damage
from adapters.sqlite.database import EventLogOpenError
from adapters.sqlite.events import read_bounds
from gateway.ports import Backup, Damage, ReportProgress, Statistics

__all__ = ["damage_of", "is_current", "is_current_backup", "looking_at", "read_statistics"]

_BUSY_TIMEOUT_SECONDS = 5.0


@contextmanager
def looking_at(path: Path, *, is_backup: bool = False) -> Iterator[sqlite3.Connection]:
    """Connect to a log for as long as the context lasts. Blocks.

    Args:
        path: The file.
        is_backup: Whether it is a backup, to which nobody writes.

    Raises:
        EventLogOpenError: The file is missing, is no event log, or cannot be read.
    """
    if not path.is_file():
        raise EventLogOpenError(f"{path} does not exist")
    more, application_id = ("&immutable=1", schema.BACKUP_APPLICATION_ID) if is_backup else ("", schema.APPLICATION_ID)
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro{more}", uri=True, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None
        )
        with closing(connection):
            if reason := schema.mismatch(connection, application_id):
                raise EventLogOpenError(f"The file {path} cannot be used as an event log: {reason}.")
            yield connection
    except UnicodeDecodeError as error:
        raise EventLogOpenError(f"The event log {path} cannot be read: its schema is damaged.") from error
    except sqlite3.Error as error:
        # SQLite needs its shared memory beside the file, also to read.
        hint = " Can its folder be written, as by the gateway's user?" if _cannot_open(error) else ""
        raise EventLogOpenError(f"The event log {path} cannot be read: {error}.{hint}") from error


def is_current(path: Path) -> bool:
    """Return whether a log has this version's schema, so that it can be read without migrating it. Blocks.

    Raises:
        EventLogOpenError: See `looking_at`.
    """
    with looking_at(path) as connection:
        return schema.read_version(connection) == schema.SCHEMA_VERSION


def is_current_backup(backup: Backup) -> bool:
    """Return the same of a backup."""
    return backup.schema == schema.SCHEMA_VERSION


def damage_of(path: Path, report: ReportProgress | None = None, *, is_backup: bool = False) -> Damage:
    """Read everything, and return what is damaged. Blocks.

    Raises:
        EventLogOpenError: See `looking_at`.
    """
    with looking_at(path, is_backup=is_backup) as connection:
        return find_damage(connection, report)


def read_statistics(path: Path) -> Statistics:
    """Return what a log holds. Blocks.

    Raises:
        EventLogOpenError: See `looking_at`; or its schema is an older one.
    """
    with looking_at(path) as connection:
        if (version := schema.read_version(connection)) != schema.SCHEMA_VERSION:
            raise EventLogOpenError(
                f"{path} has the schema {version}, and this version of the gateway migrates it to "
                f"{schema.SCHEMA_VERSION} at its first start: only then can it be read."
            )
        connection.execute("BEGIN")
        bounds, found = read_bounds(connection), subscriptions.read(connection)
        (events,) = connection.execute("SELECT count(*) FROM event").fetchone()
        return Statistics(
            log_id=schema.read_log_id(connection),
            schema=version,
            bounds=bounds,
            events=events,
            size_bytes=sum(each.stat().st_size for each in (path, _wal(path)) if each.exists()),
            oldest_ms=_time_ms(connection, "ASC"),
            newest_ms=_time_ms(connection, "DESC"),
            subscriptions=found.intact,
            damaged_subscriptions=len(found.damaged),
        )


def _cannot_open(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _time_ms(connection: sqlite3.Connection, order: str) -> int | None:
    row = connection.execute(f"SELECT receive_time_ms FROM event ORDER BY sequence {order} LIMIT 1").fetchone()  # noqa: S608  constant
    return None if row is None else row[0]
