"""The migration of a log of an earlier schema version loses nothing."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite import EventLogOpenError, SqliteStorage
from adapters.sqlite.schema import SCHEMA_VERSION
from gateway.ports import Damage, LogBounds, StoredSubscription
from tests.integration.sqlite import release_log
from tests.integration.sqlite.sqlite_events import ISSUER, append_all, event, numbers, opened, opened_storage

VERSION_1 = """
    CREATE TABLE meta (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        log_id TEXT NOT NULL,
        trimmed_through INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE event (
        sequence INTEGER PRIMARY KEY,
        issuer_id TEXT NOT NULL,
        card_id TEXT NOT NULL,
        operation_id TEXT NOT NULL,
        consumer_id TEXT NOT NULL,
        operation_type INTEGER NOT NULL,
        status INTEGER NOT NULL,
        receive_time_ms INTEGER NOT NULL,
        latest_receive_time_ms INTEGER NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX event_identity ON event (issuer_id, card_id, operation_id);
    CREATE INDEX event_time ON event (latest_receive_time_ms);
    CREATE TABLE subscription (
        issuer_id TEXT NOT NULL,
        name TEXT NOT NULL,
        committed INTEGER NOT NULL,
        commit_time_ms INTEGER NOT NULL,
        PRIMARY KEY (issuer_id, name)
    ) STRICT, WITHOUT ROWID;
    PRAGMA application_id = 0x44314C47;
    PRAGMA user_version = 1;
    INSERT INTO meta VALUES (1, '0a1b2c3d', 7);
    INSERT INTO subscription VALUES ('ISSUER0001', 'watcher', 9, 500);
    PRAGMA journal_mode = WAL;
"""

MIGRATE_AND_DIE = """
import os, sqlite3, sys
from adapters.sqlite import schema

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_spill = 5")  # Also the unfinished transaction writes to the file.
connection.execute("PRAGMA cache_size = 5")
connection.execute("BEGIN IMMEDIATE")
schema.migrate(connection)
print(connection.execute("PRAGMA user_version").fetchone()[0], flush=True)
os.kill(os.getpid(), 9)
"""


def make_version_1(path: Path, count: int = 3) -> None:
    """Make a file with events from sequence 8 on."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
        rows = [
            (place + 8, ISSUER, "card-1", f"operation-{place}", "consumer-1", 1, 2, 1_000, 1_000, b"payload")
            for place in range(count)
        ]
        database.executemany(f"INSERT INTO event VALUES ({', '.join('?' * 10)})", rows)  # noqa: S608  only marks
        database.commit()


def schema_of(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        columns = {
            table: {row[1:4] for row in database.execute(f"PRAGMA table_info({table})")}  # Name, type, not null.
            for table in tables
        }
        indices = {
            (table, row[1], row[2]): [column[2] for column in database.execute(f"PRAGMA index_info({row[1]})")]
            for table in tables
            for row in database.execute(f"PRAGMA index_list({table})")
        }
        return {"version": version, "columns": columns, "indices": indices}


async def test_a_log_of_version_1_keeps_all_that_it_has_and_takes_what_it_could_not(path: Path) -> None:
    make_version_1(path)
    on_consumer = event(1, kind=2, subject_id="consumer-1")

    async with opened_storage(path) as storage:
        log = storage.log
        assert log.log_id == "0a1b2c3d"
        assert await log.bounds() == LogBounds(trimmed_through=7, last=10)
        assert [stored.sequence for stored in (await log.read(0, 10)).events] == [8, 9, 10]
        assert [stored.event for stored in (await log.read(0, 10)).events] == [event(number) for number in range(3)]
        assert await log.get_subscription(ISSUER, "watcher") == StoredSubscription(ISSUER, "watcher", 9, 500)

        assert await append_all(log, [event(1), on_consumer, on_consumer]) == [False, True, False]
        later = event(1)._replace(status=3)
        assert await append_all(log, [later, later]) == [True, False]
        await storage.key_value_store.put("key", b"value", 60)

    async with opened_storage(path) as storage:
        assert [stored.event for stored in (await storage.log.read(10, 10)).events] == [on_consumer, later]
        assert await storage.key_value_store.get("key") == b"value"


async def test_a_migrated_log_looks_like_a_new_one(path: Path, tmp_path: Path) -> None:
    make_version_1(path)
    new = tmp_path / "new.db"
    for each in (path, new):
        async with opened(each):
            pass

    assert schema_of(path) == schema_of(new)
    assert schema_of(new)["version"] == 7


async def test_a_log_of_version_4_knows_its_duplicates_and_takes_later_states(path: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    for each in (path, new):
        async with opened(each) as log:
            await log.append(event(1))
    with closing(sqlite3.connect(path)) as old:
        _back_to_version_4(old)

    async with opened(path) as log:
        assert await append_all(log, [event(1), event(1)._replace(status=3)]) == [False, True]

    assert schema_of(path) == schema_of(new)


def _back_to_version_4(database: sqlite3.Connection) -> None:
    database.executescript("""
        DROP INDEX event_identity;
        DROP TABLE skipped_event;
        ALTER TABLE event DROP COLUMN checksum;
        ALTER TABLE event DROP COLUMN payload_checksum;
        ALTER TABLE event DROP COLUMN state;
        ALTER TABLE subscription DROP COLUMN checksum;
        CREATE UNIQUE INDEX event_identity ON event (issuer_id, kind, subject_id, operation_id);
        PRAGMA user_version = 4;
    """)


async def test_a_log_of_version_2_gets_what_later_versions_have_more(path: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    for each in (path, new):
        async with opened(each) as log:
            await log.append(event(1))
            await log.commit(ISSUER, "watcher", 1, 500)
    with closing(sqlite3.connect(path)) as old:
        _back_to_version_4(old)
        old.execute("ALTER TABLE meta DROP COLUMN fence")
        for column in ("fencing_token", "stale_through"):
            old.execute(f"ALTER TABLE subscription DROP COLUMN {column}")
        old.execute("PRAGMA user_version = 2")
        old.commit()

    async with opened(path) as log:
        assert await numbers(log) == [1]
        assert await log.get_subscription(ISSUER, "watcher") == StoredSubscription(ISSUER, "watcher", 1, 500)

    assert schema_of(path) == schema_of(new)


async def test_a_migration_that_is_killed_halfway_leaves_version_1(path: Path) -> None:
    make_version_1(path, count=2_000)
    before = schema_of(path)

    died = subprocess.run(  # noqa: S603, ASYNC221  this interpreter, at once
        [sys.executable, "-c", MIGRATE_AND_DIE, str(path)], check=False, capture_output=True, text=True, timeout=30
    )

    assert (died.returncode, died.stdout.splitlines()[-1:]) == (-9, ["7"]), died.stderr
    assert schema_of(path) == before
    assert before["version"] == 1
    async with opened(path) as log:
        assert await numbers(log) == list(range(2_000))


async def test_a_log_is_migrated_in_less_time_than_it_takes_to_write_it(tmp_path: Path) -> None:
    async def measure(path: Path) -> float:
        begin = time.perf_counter()
        make_version_1(path, count=20_000)
        written = time.perf_counter()
        async with opened(path):
            return (time.perf_counter() - written) / (written - begin)

    # The least of some, as a busy machine may hold up any of them.
    assert min([await measure(tmp_path / f"{number}.db") for number in range(3)]) < 3.0


async def test_a_log_of_version_1_that_cannot_be_migrated_is_rejected_and_left_as_it_is(path: Path) -> None:
    make_version_1(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE entry (key)")
    before = schema_of(path)

    with pytest.raises(EventLogOpenError, match="already exists"):
        await SqliteStorage.open(path)

    assert schema_of(path) == before


@pytest.mark.parametrize("schema", release_log.schemas())
async def test_a_log_that_a_release_has_left_opens_with_all_that_it_has(path: Path, schema: int) -> None:
    release_log.load(path, schema)

    async with opened_storage(path) as storage:
        log = storage.log
        assert log.log_id == release_log.LOG_ID
        assert await log.bounds() == LogBounds(release_log.KEPT_FROM - 1, len(release_log.EVENTS))
        before, behind = release_log.SKIPPED - 1, release_log.SKIPPED
        assert [each.event for each in (await log.read(3, 50)).events] == release_log.EVENTS[3:before]
        assert [each.event for each in (await log.read(behind, 50)).events] == release_log.EVENTS[behind:]
        assert await log.list_subscriptions() == release_log.SUBSCRIPTIONS
        assert await storage.key_value_store.get("record") == b"sealed"
        assert await storage.find_damage() == Damage([], [release_log.SKIPPED], [])
        assert await append_all(log, [release_log.EVENTS[5], event(99)]) == [False, True]


def test_the_present_schema_is_among_the_logs_that_later_versions_have_to_open() -> None:
    assert release_log.schemas()[-1] == SCHEMA_VERSION
