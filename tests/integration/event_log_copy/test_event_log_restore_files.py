"""What a restore meets in the place of the log: each is kept aside, or stays as it is."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sqlite import restore
from adapters.sqlite.database import connect_writer, open_database
from adapters.sqlite.events import Appender
from gateway.ports import BackupFailedError, BackupUnusableError, Engine
from tests.integration.event_log_copy.copy_stage import Stage, content_of, ignore, notifications, upgrade


async def test_while_another_program_reads_the_log_it_is_not_replaced(stage: Stage, backup: Path) -> None:
    with closing(sqlite3.connect(stage.file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        before = stage.file.read_bytes()
        with pytest.raises(BackupFailedError, match="nothing was changed: database is locked; another program reads"):
            restore(backup, stage.file, keeps_epoch=False, report=ignore)

    assert stage.file.read_bytes() == before


async def test_a_log_that_nobody_can_read_is_kept_aside_with_what_is_beside_it(stage: Stage, backup: Path) -> None:
    stage.file.write_bytes(b"torn" * 4_000)
    beside = stage.file.with_name(f"{stage.file.name}-wal")
    beside.write_bytes(b"also torn")

    done = restore(backup, stage.file, keeps_epoch=False, report=ignore)

    assert done.aside is not None
    assert done.aside.read_bytes() == b"torn" * 4_000
    assert done.aside.with_name(f"{done.aside.name}-wal").read_bytes() == b"also torn"
    async with stage.opened(Engine.SQLITE) as storage:
        assert (await storage.log.bounds()).last == 50
        assert storage.log.log_id == done.log_id != done.backup.log_id


async def test_what_is_left_of_a_log_without_its_file_is_not_copied_into_the_restored_one(
    stage: Stage, backup: Path
) -> None:
    database, beside = open_database(stage.file), stage.file.with_name(f"{stage.file.name}-wal")
    with closing(database), closing(connect_writer(database)) as connection:
        Appender(connection).append(notifications(500, seed=42, first=50))
        newest = beside.read_bytes()
    stage.file.unlink()
    beside.write_bytes(newest)

    done = restore(backup, stage.file, keeps_epoch=False, report=ignore)

    assert done.aside is not None
    assert done.aside.read_bytes() == newest
    async with stage.opened(Engine.SQLITE) as storage:
        assert (await storage.log.bounds()).last == 50


async def test_a_log_is_restored_into_a_folder_that_is_there(stage: Stage, backup: Path) -> None:
    missing = stage.folder / "missing"

    with pytest.raises(BackupUnusableError, match=f"event_log.path: the folder {missing} does not exist"):
        restore(backup, missing / "events.db", keeps_epoch=False, report=ignore)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could make a log that the gateway's user cannot open")
async def test_root_restores_no_log_of_another_user(stage: Stage, backup: Path) -> None:
    os.chown(stage.file, 65_534, 65_534)
    before = content_of(stage.file)

    with pytest.raises(
        BackupUnusableError, match="is of user 65534, who could not open a file of root's: run this as that user"
    ):
        restore(backup, stage.file, keeps_epoch=False, report=ignore)

    assert content_of(stage.file) == before


async def test_a_log_of_a_newer_version_is_kept_aside_by_a_restore(stage: Stage, backup: Path) -> None:
    upgrade(stage.file)

    done = restore(backup, stage.file, keeps_epoch=False, report=ignore)

    assert done.aside is not None
    with closing(sqlite3.connect(done.aside)) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (8,)
    async with stage.opened(Engine.SQLITE) as storage:
        assert (await storage.log.bounds()).last == 50
