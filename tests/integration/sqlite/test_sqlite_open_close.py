"""Opening and closing: permissions, locks, and the files left behind."""

# ruff: noqa: ASYNC240  the files are small and nothing else runs
import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sqlite import EventLogOpenError, SqliteEventLog, SqliteStorage
from tests.integration.sqlite.sqlite_events import ISSUER, append_all, event, numbers, opened, unavailable

OPEN_AND_CLOSE = """
import asyncio, os, sys
from adapters.sqlite import EventLogOpenError, SqliteStorage

async def main():
    try:
        storage = await SqliteStorage.open(sys.argv[1])
    except EventLogOpenError as error:
        sys.exit(f"refused: {error}")
    await storage.close()

if len(sys.argv) > 2:
    os.setuid(int(sys.argv[2]))
asyncio.run(main())
"""


def open_elsewhere(path: Path, *user_id: str) -> str:
    """Open and close the log in another process, as another user if one is named. Returns its error output."""
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-c", OPEN_AND_CLOSE, str(path), *user_id],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stderr.strip()


async def test_a_log_has_an_identity_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as one, opened(tmp_path / "b.db") as other:
        log_id = one.log_id
        assert len(log_id) == 8
        assert set(log_id) <= set("0123456789abcdef")
        assert other.log_id != log_id

    async with opened(tmp_path / "a.db") as one:
        assert one.log_id == log_id


async def test_only_the_owner_may_read_the_files(log: SqliteEventLog, path: Path) -> None:
    await log.append(event(1))

    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == dict.fromkeys(("events.db", "events.db-wal", "events.db-shm", "events.db.lock"), 384)


async def test_after_closing_only_the_database_and_its_lock_file_are_left(path: Path) -> None:
    async with opened(path) as log:
        await log.append(event(1))
        await log.read(0, 1)

    assert {file.name for file in path.parent.iterdir()} == {"events.db", "events.db.lock"}


async def test_a_second_opener_is_refused_until_the_first_one_closes(path: Path) -> None:
    async with opened(path) as log:
        with pytest.raises(EventLogOpenError, match="in use by another process"):
            await SqliteStorage.open(path)
        assert "in use by another process" in await asyncio.to_thread(open_elsewhere, path)
        assert await log.append(event(1))

    assert await asyncio.to_thread(open_elsewhere, path) == ""


async def test_a_link_to_the_log_is_the_same_log(log: SqliteEventLog, path: Path) -> None:
    assert await log.append(event(1))
    link = path.with_name("link.db")
    link.symlink_to(path)

    with pytest.raises(EventLogOpenError, match="in use by another process"):
        await SqliteStorage.open(link)


async def test_a_log_with_two_names_is_refused_by_either_of_them(path: Path) -> None:
    # In use: under the other name neither the lock nor what is not yet in the database itself would be found.
    other = path.with_name("other.db")
    async with opened(path) as log:
        await log.append(event(1))
        other.hardlink_to(path)
        with pytest.raises(EventLogOpenError, match=f"{other} has hard links"):
            await SqliteStorage.open(other)
        assert await log.append(event(2))
    with pytest.raises(EventLogOpenError, match=f"{path} has hard links"):
        await SqliteStorage.open(path)

    other.unlink()
    async with opened(path) as log:
        assert await numbers(log) == [1, 2]


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1_000)

    with pytest.raises(EventLogOpenError, match="not a database"):
        await SqliteStorage.open(path)

    assert path.read_bytes() == b"no database at all" * 1_000


async def test_the_database_of_another_application_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE event (text)")
    before = path.read_bytes()

    with pytest.raises(EventLogOpenError, match="another application"):
        await SqliteStorage.open(path)

    assert path.read_bytes() == before


async def test_a_log_of_a_newer_version_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 4")

    with pytest.raises(EventLogOpenError, match="newer version"):
        await SqliteStorage.open(path)


async def test_a_log_without_its_identity_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM meta")
        other.commit()

    with pytest.raises(EventLogOpenError, match="lost its identity"):
        await SqliteStorage.open(path)


async def test_an_empty_file_becomes_a_log(path: Path) -> None:
    path.touch()

    async with opened(path) as log:
        assert await log.append(event(1))


async def test_a_name_with_signs_that_mean_something_in_an_address_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / "events?mode=ro#1 %41.db"

    async with opened(path) as log:
        assert await log.append(event(1))
        assert await numbers(log) == [1]

    assert path.exists()


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EventLogOpenError, match="No such file or directory"):
        await SqliteStorage.open(tmp_path / "missing" / "events.db")


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    nobody = ["65534"] if os.geteuid() == 0 else []  # Permissions do not bind root.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)

        assert "Permission denied" in open_elsewhere(Path(folder) / "events.db", *nobody)


async def test_closing_finishes_what_was_begun(path: Path) -> None:
    async with opened(path) as log:
        appends = [asyncio.ensure_future(log.append(event(number))) for number in range(500)]
        commit = asyncio.ensure_future(log.commit(ISSUER, "watcher", 500, 1))
        await asyncio.sleep(0)

    assert await asyncio.gather(*appends) == [True] * 500
    assert (await commit).committed == 500
    async with opened(path) as log:
        assert len(await numbers(log)) == 500


async def test_a_closed_log_says_that_it_is_unavailable(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(1)])

    for call in (
        log.append(event(2)),
        log.read(0, 1),
        log.bounds(),
        log.sequence_before(0),
        log.wait_beyond(0),
        log.get_subscription(ISSUER, "watcher"),
        log.list_subscriptions(ISSUER),
        log.commit(ISSUER, "watcher", 1, 1),
        log.delete_subscription(ISSUER, "watcher"),
        log.trim(),
    ):
        with unavailable():
            await call


async def test_closing_twice_or_at_once_is_closing(path: Path) -> None:
    storage = await SqliteStorage.open(path)

    await asyncio.gather(storage.close(), storage.close())
    await storage.close()

    async with opened(path):
        pass
