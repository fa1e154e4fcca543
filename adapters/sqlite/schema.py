"""The database schema, and how its file is recognised."""

import secrets
import sqlite3

import structlog

from adapters.sqlite.checksums import CHECKED_COLUMNS, NUMBERS, checksum_of_row, checksum_of_subscription
from gateway.ports import EventKind

__all__ = [
    "APPLICATION_ID",
    "BACKUP_APPLICATION_ID",
    "SCHEMA_VERSION",
    "SUBSCRIPTION_COLUMNS",
    "create",
    "is_empty",
    "migrate",
    "mismatch",
    "read_log_id",
    "read_version",
    "renew_log_id",
    "too_new",
]

_log = structlog.get_logger(__name__)

APPLICATION_ID = 0x44314C47
"""``PRAGMA application_id`` in the file's header: "D1LG" in ASCII."""

BACKUP_APPLICATION_ID = 0x44314C42
"""The same in a backup: "D1LB". No gateway opens it, since its cursors must not be used again."""

SCHEMA_VERSION = 7
"""``PRAGMA user_version`` in the file's header."""

SUBSCRIPTION_COLUMNS = "issuer_id, name, committed, commit_time_ms, fencing_token, stale_through"
"""The fields of `gateway.ports.StoredSubscription` in their order."""

_IDENTITY = "issuer_id, kind, subject_id, operation_id"
_IDENTITY_INDEX = f"CREATE UNIQUE INDEX event_identity ON event ({_IDENTITY}, operation_type, status, state)"

_ENTRY_TABLE = """
    CREATE TABLE entry (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        expire_time_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
"""
_ENTRY_INDEX = "CREATE INDEX entry_expiry ON entry (expire_time_ms)"

_SKIPPED_TABLE = "CREATE TABLE skipped_event (sequence INTEGER PRIMARY KEY) STRICT"
"""Damaged events that watchers may pass."""

_STATEMENTS = (
    """
    CREATE TABLE meta (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        log_id TEXT NOT NULL,
        trimmed_through INTEGER NOT NULL,
        fence INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    # No AUTOINCREMENT: the writer assigns sequences, and meta.trimmed_through keeps the last one of removed rows.
    # SQLite's own counter would also count skipped duplicates.
    # latest_receive_time_ms never decreases from row to row and is never below receive_time_ms. It makes times
    # searchable although concurrent events, or events around a clock correction, may be stored out of order.
    """
    CREATE TABLE event (
        sequence INTEGER PRIMARY KEY,
        issuer_id TEXT NOT NULL,
        kind INTEGER NOT NULL,
        subject_id TEXT NOT NULL,
        operation_id TEXT NOT NULL,
        consumer_id TEXT NOT NULL,
        operation_type INTEGER NOT NULL,
        status INTEGER NOT NULL,
        receive_time_ms INTEGER NOT NULL,
        latest_receive_time_ms INTEGER NOT NULL,
        payload BLOB NOT NULL,
        state TEXT NOT NULL DEFAULT '',
        checksum INTEGER NOT NULL DEFAULT 0,
        payload_checksum INTEGER
    ) STRICT
    """,
    _IDENTITY_INDEX,
    "CREATE INDEX event_time ON event (latest_receive_time_ms)",
    """
    CREATE TABLE subscription (
        issuer_id TEXT NOT NULL,
        name TEXT NOT NULL,
        committed INTEGER NOT NULL,
        commit_time_ms INTEGER NOT NULL,
        fencing_token INTEGER NOT NULL DEFAULT 0,
        stale_through INTEGER NOT NULL DEFAULT 0,
        checksum INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (issuer_id, name)
    ) STRICT, WITHOUT ROWID
    """,
    _SKIPPED_TABLE,
    _ENTRY_TABLE,
    _ENTRY_INDEX,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_FROM_VERSION_1 = (
    # Version 1 knew notifications of 3DS operations only. Its rows are not rewritten.
    "ALTER TABLE event RENAME COLUMN card_id TO subject_id",
    f"ALTER TABLE event ADD COLUMN kind INTEGER NOT NULL DEFAULT {EventKind.THREE_DS_OPERATION}",
    "DROP INDEX event_identity",
    f"CREATE UNIQUE INDEX event_identity ON event ({_IDENTITY})",
    _ENTRY_TABLE,
    _ENTRY_INDEX,
)

_FROM_VERSION_2 = ("ALTER TABLE meta ADD COLUMN fence INTEGER NOT NULL DEFAULT 0",)

_FROM_VERSION_3 = (
    "ALTER TABLE subscription ADD COLUMN fencing_token INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE subscription ADD COLUMN stale_through INTEGER NOT NULL DEFAULT 0",
)

_FROM_VERSION_4 = (
    # Up to version 4, a later state of an operation was a duplicate. The rows are not rewritten: type and status of
    # those that are known are in their columns already.
    "ALTER TABLE event ADD COLUMN state TEXT NOT NULL DEFAULT ''",
    "DROP INDEX event_identity",
    _IDENTITY_INDEX,
)

_FROM_VERSION_5 = (
    # What is there now counts as undamaged.
    "ALTER TABLE event ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE subscription ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
    f"UPDATE event SET checksum = checksum_of_row({NUMBERS}, {CHECKED_COLUMNS})",  # noqa: S608  constants
    f"UPDATE subscription SET checksum = checksum_of_subscription({SUBSCRIPTION_COLUMNS})",  # noqa: S608  constant
    _SKIPPED_TABLE,
)

_FROM_VERSION_6 = (
    # The rows are not rewritten: those without it are read by their other checksum, as before.
    "ALTER TABLE event ADD COLUMN payload_checksum INTEGER",
)


def is_empty(connection: sqlite3.Connection) -> bool:
    """Return whether the database is new."""
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return tables == 0 and _pragma(connection, "application_id") == 0


def mismatch(connection: sqlite3.Connection, application_id: int = APPLICATION_ID) -> str | None:
    """Return why this version cannot use the database as an event log, or as a backup; None if it can."""
    found = _pragma(connection, "application_id")
    if found != application_id:
        if found == BACKUP_APPLICATION_ID:
            return "it is a backup, which d1-gateway log restore puts in place"
        return "it belongs to another application"
    if reason := too_new(read_version(connection)):
        return reason
    (foreign,) = connection.execute(
        "SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index')"
    ).fetchone()
    # Somebody else's statements would run with each of ours.
    return "it has triggers or views, which no version of the gateway makes" if foreign else None


def too_new(version: int) -> str | None:
    """Return why this version of the gateway cannot use a version of the schema; None if it can."""
    if version <= SCHEMA_VERSION:
        return None
    return (
        f"a newer version of the gateway wrote it (schema {version}; this one knows schemas up to {SCHEMA_VERSION}). "
        "Start that version again, or restore a backup from before the upgrade: d1-gateway log restore"
    )


def read_version(connection: sqlite3.Connection) -> int:
    """Return the version of the database's schema."""
    return _pragma(connection, "user_version")


def create(connection: sqlite3.Connection) -> None:
    """Create the tables of a new log, and its identity. Runs in the caller's transaction."""
    for statement in _STATEMENTS:
        connection.execute(statement)
    connection.execute("INSERT INTO meta (only_row, log_id, trimmed_through) VALUES (1, ?, 0)", (_new_log_id(),))


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate a log of an older version. Runs in the caller's transaction."""
    connection.create_function("checksum_of_row", 7, checksum_of_row, deterministic=True)
    connection.create_function("checksum_of_subscription", -1, checksum_of_subscription, deterministic=True)
    changes = (_FROM_VERSION_1, _FROM_VERSION_2, _FROM_VERSION_3, _FROM_VERSION_4, _FROM_VERSION_5, _FROM_VERSION_6)
    version = _pragma(connection, "user_version")
    if version < SCHEMA_VERSION:
        # It takes long for a large log, and the start waits for it.
        _log.info("event_log_migration_started", schema=version, to_schema=SCHEMA_VERSION)
    for change in changes[version - 1 :]:
        for statement in change:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def read_log_id(connection: sqlite3.Connection) -> str:
    """Return the log's identity."""
    row: tuple[str] | None = connection.execute("SELECT log_id FROM meta").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("it has lost its identity")
    return row[0]


def renew_log_id(connection: sqlite3.Connection) -> str:
    """Give the log another identity, and return it. Runs in the caller's transaction."""
    log_id = _new_log_id()
    connection.execute("UPDATE meta SET log_id = ?", (log_id,))
    return log_id


def _new_log_id() -> str:
    return secrets.token_hex(4)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
