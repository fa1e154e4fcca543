"""Files that are no backup, or not any more: each is refused, says why, and stays as it is, like the event log."""

import fcntl
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite import EventLogOpenError, SqliteStorage, read_backup, restore, seal, verify_backup
from gateway.bootstrap import logging
from gateway.ports import BackupDamagedError, BackupUnusableError
from tests.e2e.command import GATEWAY, invoked
from tests.integration.event_log_copy.copy_stage import Stage, content_of, ignore, make_backup, upgrade

_BACK_UP_AS_NOBODY = """
import os, sys
from pathlib import Path
from adapters.sqlite import back_up
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
back_up(Path(sys.argv[1]), Path(sys.argv[2]), version="1", key_entry="none", overwrites=False, report=lambda *_: None)
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command that runs in this process would change what later tests log.
    monkeypatch.setattr(logging, "configure", lambda _: None)


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 200)


def _lengthen(file: Path) -> None:
    sealed = file.read_bytes()
    file.write_bytes(sealed[:4096] + bytes(4096) + sealed[4096:])


def _of(file: Path, **says: Any) -> None:
    made = read_backup(file)
    os.truncate(file, made.size_bytes)
    seal.attach(file, replace(made, **says), ignore)


def _with_trigger(file: Path) -> None:
    made = read_backup(file)
    os.truncate(file, made.size_bytes)
    with closing(sqlite3.connect(file)) as log:
        log.execute("CREATE TRIGGER forget AFTER INSERT ON event BEGIN DELETE FROM event; END")
    seal.attach(file, replace(made, size_bytes=file.stat().st_size), ignore)


def _of_form(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'{"d1-gateway-backup":1,', b'{"d1-gateway-backup":2,'))


def _unseal(file: Path) -> None:
    os.truncate(file, read_backup(file).size_bytes)
    seal.set_application_id(file, 0x44314C47)


@pytest.mark.parametrize(
    ("make", "status", "mistake"),
    [
        pytest.param(Path.unlink, 2, "cannot be read: No such file or directory", id="missing"),
        pytest.param(
            lambda file: file.write_bytes(b""), 2, "is no backup that d1-gateway log backup has made", id="empty"
        ),
        pytest.param(lambda file: file.write_bytes(b"no" * 5_000), 2, "is no backup that d1-gateway", id="foreign"),
        pytest.param(_truncate, 1, "is damaged: its end is missing", id="truncated"),
        pytest.param(_lengthen, 1, "is damaged: it has another size than its seal says", id="longer"),
        pytest.param(_unseal, 2, "is an event log, not a backup of it", id="a log"),
        pytest.param(
            lambda file: _of(file, schema=8), 2, "(schema 8; this one knows schemas up to 7). Start", id="newer"
        ),
        pytest.param(lambda file: _of(file, events="50"), 1, "its seal cannot be read", id="of another type"),
        pytest.param(lambda file: _of(file, time_ms=10**17), 1, "its seal cannot be read", id="of no time"),
        pytest.param(_with_trigger, 2, "it has triggers or views, which no version of the gateway", id="trigger"),
        pytest.param(
            _of_form, 2, "a newer version of the gateway made this backup (form 2, known: 1)", id="newer form"
        ),
    ],
)
async def test_what_cannot_be_restored_is_refused_and_nothing_changes(
    stage: Stage, backup: Path, make: Callable[[Path], object], status: int, mistake: str
) -> None:
    make(backup)
    before = content_of(backup), content_of(stage.file)

    checked = await invoked(GATEWAY, "log", "check", backup)
    with pytest.raises((BackupUnusableError, BackupDamagedError)) as refused:
        restore(backup, stage.file, keeps_epoch=False, report=ignore)

    assert mistake in str(refused.value)
    assert str(refused.value) in checked.only_line(status)
    assert (content_of(backup), content_of(stage.file)) == before
    assert list(stage.folder.glob(".*")) == []


def test_whichever_bit_of_a_backup_has_flipped_it_is_found(backup: Path, seed: str) -> None:
    chance = random.Random(seed)  # noqa: S311  no secret
    intact, size = backup.read_bytes(), read_backup(backup).size_bytes
    places = [*chance.sample(range(size), 60), *range(size, len(intact))]
    unnoticed = []
    for place in places:
        flipped = bytearray(intact)
        flipped[place] ^= 1 << chance.randrange(8)
        backup.write_bytes(flipped)
        try:
            verify_backup(backup, ignore)
        except (BackupDamagedError, BackupUnusableError):
            continue
        unnoticed.append(place)

    assert unnoticed == []
    backup.write_bytes(intact)
    assert verify_backup(backup, ignore).events == 50


async def test_a_gateway_does_not_open_a_backup(stage: Stage, backup: Path) -> None:
    stage.file.write_bytes(content_of(backup))

    with pytest.raises(EventLogOpenError, match="it is a backup, which d1-gateway log restore puts in place"):
        await SqliteStorage.open(stage.file)

    assert stage.file.read_bytes() == content_of(backup)


async def test_damage_that_a_backup_took_over_from_its_log_is_listed(stage: Stage, backup: Path) -> None:
    with closing(sqlite3.connect(stage.file, isolation_level=None)) as file:
        file.execute("UPDATE event SET payload = x'00' WHERE sequence = 3")
    make_backup(stage.file, backup, overwrites=True)

    done = await invoked(GATEWAY, "log", "check", backup)

    assert (done.status, done.stdout.splitlines()[1:]) == (1, ["notification 3 is damaged"])


def test_a_backup_replaces_nothing_unless_told_to_and_leaves_others_alone(stage: Stage, backup: Path) -> None:
    before = backup.read_bytes()
    part, folder, link = (backup.with_name(f"{backup.name}{end}") for end in (".part", ".folder", ".link"))
    folder.mkdir()
    link.symlink_to(stage.file)

    for target, mistake in ((backup, "exists: choose another name, or replace it with --force"), (link, "exists")):
        with pytest.raises(BackupUnusableError, match=mistake):
            make_backup(stage.file, target)
    with pytest.raises(BackupUnusableError, match="is a folder"):
        make_backup(stage.file, folder, overwrites=True)
    part.symlink_to(stage.file)
    with pytest.raises(BackupUnusableError, match=r"cannot be written: Too many levels of symbolic links"):
        make_backup(stage.file, backup, overwrites=True)
    with pytest.raises(BackupUnusableError, match="cannot be written: No such file or directory"):
        make_backup(stage.file, stage.folder / "missing" / "backup.db")
    with pytest.raises(EventLogOpenError, match="does not exist"):
        make_backup(stage.folder / "missing.db", stage.folder / "other.db")

    assert backup.read_bytes() == before
    part.unlink()
    make_backup(stage.file, backup, overwrites=True)
    assert verify_backup(backup, ignore).events == 50


def test_a_backup_never_replaces_an_event_log_a_key_or_a_device(stage: Stage, backup: Path) -> None:
    key, empty, pipe = (stage.folder / name for name in ("events.db.key", "empty", "pipe"))
    key.write_text("0" * 64)
    empty.touch()
    os.mkfifo(pipe)

    for target in (stage.file, key, pipe):
        before = target.lstat().st_ino, target.lstat().st_mtime_ns
        with pytest.raises(BackupUnusableError, match="is no backup, and --force replaces nothing else"):
            make_backup(stage.file, target, overwrites=True)
        assert (target.lstat().st_ino, target.lstat().st_mtime_ns) == before
    _truncate(backup)
    for target in (backup, empty):
        make_backup(stage.file, target, overwrites=True)
        assert verify_backup(target, ignore).events == 50


def test_a_backup_that_has_just_finished_is_not_emptied_by_the_next_one(
    stage: Stage, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, made = fcntl.flock, backup.read_bytes()
    part = backup.with_name(f"{backup.name}.part")
    backup.rename(part)

    def finish_and_lock(descriptor: int, operation: int) -> None:
        part.rename(backup)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", finish_and_lock)
    with pytest.raises(BackupUnusableError, match="is in use"):
        make_backup(stage.file, backup, overwrites=True)

    assert backup.read_bytes() == made


async def test_what_a_backup_says_of_itself_cannot_control_a_terminal(backup: Path) -> None:
    _of(backup, version="\x1b[2J", key_id="\x1b]0;\x07")

    done = await invoked(GATEWAY, "log", "check", backup)

    assert (done.status, "\x1b" in done.stdout) == (0, False)
    assert "made by version \N{REPLACEMENT CHARACTER}[2J, schema 7" in done.stdout


def test_a_pipe_is_no_backup(backup: Path) -> None:
    command = 'cat "$0" | d1-gateway log check /dev/stdin'
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(  # noqa: S603  this file's command
        ["/bin/sh", "-c", command, backup], check=False, capture_output=True, text=True, timeout=30, env=environment
    )

    assert (done.returncode, done.stderr.startswith("d1-gateway: /dev/stdin cannot be read: ")) == (2, True), done


def test_in_a_folder_that_cannot_be_written_no_backup_is_made(stage: Stage, backup: Path) -> None:
    assert backup.exists()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        log = Path(folder, "open", "events.db")
        log.parent.mkdir()
        log.write_bytes(stage.file.read_bytes())
        for each in (log, log.parent):
            each.chmod(0o777)
        for target, mistake in ((Path(folder, "backup.db"), "Permission denied"), (log.with_name("backup.db"), "")):
            done = subprocess.run(  # noqa: S603  this interpreter
                [sys.executable, "-c", _BACK_UP_AS_NOBODY, log, target],
                check=False,
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert (mistake in done.stderr, target.exists()) == (True, not mistake), done.stderr


async def test_for_nats_a_backup_is_unpacked_where_files_can_be_written(
    stage: Stage, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(stage.folder / "missing"))

    done = await invoked(GATEWAY, "log", "restore", backup, "--config", stage.settings_file())

    assert "nothing was changed: it cannot be unpacked: [Errno 2] No such file or directory" in done.only_line(1)
    assert "TMPDIR names another place" in done.stderr


def _halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("make", "mistake"),
    [
        pytest.param(Path.unlink, "does not exist", id="missing"),
        pytest.param(lambda file: file.write_bytes(b"no" * 5_000), "file is not a database", id="foreign"),
        pytest.param(_halve, "database disk image is malformed", id="truncated"),
        pytest.param(upgrade, "(schema 8; this one knows schemas up to 7). Start that version again", id="newer"),
        pytest.param(
            lambda file: file.write_bytes(content_of(file.with_name("backup.db"))), "it is a backup", id="backup"
        ),
    ],
)
async def test_a_log_that_is_none_is_refused_by_every_command_and_stays_as_it_is(
    stage: Stage, backup: Path, make: Callable[[Path], object], mistake: str
) -> None:
    make(stage.file)
    before, settings = content_of(stage.file), stage.settings_file(with_nats=False)

    for words in ("backup other.db", "check", "stat", "trim --before 1d", "new-epoch", "skip 1"):
        done = await invoked(GATEWAY, "log", *words.split(), "--config", settings)
        assert mistake in done.only_line(2), words
        assert content_of(stage.file) == before
    assert content_of(Path("other.db")) == b""
    assert read_backup(backup).events == 50


_ON_A_SMALL_DISK = """
import subprocess, sys, tempfile
from pathlib import Path
from adapters.sqlite import back_up, restore
from gateway.ports import BackupFailedError

log, backup = Path(sys.argv[1]), Path(sys.argv[2])
with tempfile.TemporaryDirectory() as mounted:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], check=True)
    try:
        small = Path(mounted, "events.db")
        small.write_bytes(b"former")
        Path(mounted, "ballast").write_bytes(bytes(2_050_000))
        for attempt in (
            lambda: back_up(log, small.with_name("b"), version="1", key_entry="", overwrites=False, report=print),
            lambda: restore(backup, small, keeps_epoch=False, report=lambda *_: None),
        ):
            try:
                attempt()
            except BackupFailedError as error:
                print(error)
            print(sorted(each.name for each in Path(mounted).iterdir()), small.read_bytes())
    finally:
        subprocess.run(["umount", mounted], check=True)
"""


def test_a_disk_that_is_too_small_is_left_as_it_is(stage: Stage, backup: Path) -> None:
    in_own_mounts = ("unshare", "--user", "--map-root-user", "--mount")
    if shutil.which("unshare") is None or subprocess.run([*in_own_mounts, "true"], check=False).returncode:  # noqa: S603
        pytest.skip("a file system of two megabytes takes the right to mount one")

    done = subprocess.run(  # noqa: S603  this interpreter
        [*in_own_mounts, sys.executable, "-c", _ON_A_SMALL_DISK, stage.file, backup],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    failed, after, refused, at_the_end = done.stdout.splitlines()
    assert failed.endswith("/b failed: No space left on device; nothing of it is left")
    assert after == "['ballast', 'events.db'] b'former'"
    assert refused.endswith("was not restored, and nothing was changed: No space left on device")
    assert at_the_end == "['ballast', 'events.db', 'events.db.lock'] b'former'"


def test_a_backup_that_was_locked_too_late_is_not_emptied(
    stage: Stage, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, lock = backup.with_name(f"{backup.name}.part"), fcntl.flock

    def renamed_meanwhile(descriptor: int, operation: int) -> None:
        # The other one, which had it locked, gives its backup its name.
        part.write_bytes(content_of(backup))
        part.replace(backup)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", renamed_meanwhile)
    with pytest.raises(BackupUnusableError, match="is in use: another backup is being made"):
        make_backup(stage.file, backup, overwrites=True)

    assert verify_backup(backup, ignore).events == 50
