"""Opening and closing: permissions, locks, and the files left behind."""

# ruff: noqa: ASYNC240  the files are small and nothing else runs
import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sqlite import EventLogOpenError, SqliteStorage
from tests.integration.sqlite.sqlite_events import ISSUER, event, numbers, opened, unavailable

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


async def test_a_log_has_an_identity_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as one, opened(tmp_path / "b.db") as other:
        assert other.log_id != one.log_id


async def test_only_the_owner_may_read_the_files_and_closing_leaves_the_database_and_its_lock_file(path: Path) -> None:
    async with opened(path) as log:
        await log.append(event(1))
        await log.read(0, 1)
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert files == dict.fromkeys(("events.db", "events.db-wal", "events.db-shm", "events.db.lock"), 0o600)

    assert {file.name for file in path.parent.iterdir()} == {"events.db", "events.db.lock"}


async def test_a_second_opener_is_refused_until_the_first_one_closes(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    async with opened(path) as log:
        for name in (path, link):
            with pytest.raises(EventLogOpenError, match="in use by another process"):
                await SqliteStorage.open(name)
        assert "in use by another process" in await asyncio.to_thread(open_elsewhere, path)
        assert await log.append(event(1))

    async with opened(path):
        pass


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


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    ("make", "mistake"),
    [
        pytest.param(lambda path: path.write_bytes(b"none" * 4_000), "not a database", id="no database"),
        pytest.param(lambda path: execute(path, "CREATE TABLE event (text)"), "another application", id="another's"),
    ],
)
async def test_a_file_that_is_no_log_stays_as_it_is(path: Path, make: Callable[[Path], object], mistake: str) -> None:
    make(path)
    before = path.read_bytes()

    with pytest.raises(EventLogOpenError, match=mistake):
        await SqliteStorage.open(path)

    assert path.read_bytes() == before


async def test_a_log_without_identity_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    execute(path, "DELETE FROM meta")

    with pytest.raises(EventLogOpenError, match="lost its identity"):
        await SqliteStorage.open(path)


async def test_a_log_of_a_newer_version_stays_as_it_is_and_the_refusal_says_what_to_do(path: Path) -> None:
    async with opened(path):
        pass
    execute(path, "PRAGMA user_version = 8")
    before = path.read_bytes()

    with pytest.raises(EventLogOpenError) as refused:
        await SqliteStorage.open(path)

    assert str(refused.value).endswith(
        "a newer version of the gateway wrote it (schema 8; this one knows schemas up to 7). Start that version again, "
        "or restore a backup from before the upgrade: d1-gateway log restore."
    )
    assert path.read_bytes() == before


async def test_a_gateway_that_starts_during_a_backup_waits_for_its_end(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as reader:
        async with opened(path) as log:
            await log.append(event(1))
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM meta").fetchall()
            await log.append(event(2))
        # The reader still needs the first of them, so that not all can be copied into the database.
        ending = asyncio.get_running_loop().call_later(1.0, reader.execute, "ROLLBACK")
        async with opened(path) as log:
            assert ending.when() < asyncio.get_running_loop().time()
            assert await numbers(log) == [1, 2]


async def test_an_empty_file_becomes_a_log_whose_name_may_have_signs_that_mean_something_in_an_address(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events?mode=ro#1 %41.db"
    path.touch()

    async with opened(path) as log:
        assert await log.append(event(1))
        assert await numbers(log) == [1]

    assert path.stat().st_size > 0


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
    with unavailable():
        await log.trim()
    async with opened(path) as log:
        assert len(await numbers(log)) == 500
