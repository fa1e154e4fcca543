"""``d1-gateway log backup``, ``log check FILE`` and ``log restore`` as a shell runs them, and what they promise."""

import asyncio
import json
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from adapters.sqlite import SqliteStorage
from gateway.aio.clock import wall_clock_ms
from gateway.backfill.gaps import Gaps
from gateway.backfill.records import Alive, Gap, Progress, Records, Refused
from gateway.backfill.state import Cause
from gateway.bootstrap import logging
from gateway.ports import Engine, Storage
from gateway.settings import BackfillSettings
from tests.e2e.command import GATEWAY, Ended, d1_gateway, invoked, started
from tests.integration.event_log_copy.copy_stage import ISSUERS, Stage, fill, held, left, notifications

SQLITE, NATS = Engine.SQLITE, Engine.NATS
ENGINES = pytest.mark.parametrize("engine", list(Engine))
_COUNT = 3_000
_ELSEWHERE = {"D1_GATEWAY_NATS__PREFIX": "another"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command that runs in this process would change what later tests log.
    monkeypatch.setattr(logging, "configure", lambda _: None)


async def _run(stage: Stage, engine: Engine, *arguments: str | Path, environment: Mapping[str, str] = {}) -> Ended:
    settings = stage.settings_file(with_nats=engine is NATS)
    if engine is SQLITE:
        return await invoked(GATEWAY, "log", *arguments, "--config", settings)
    return await d1_gateway("log", *arguments, "--config", settings, seconds=60, environment=environment)


async def _subscribe(storage: Storage) -> None:
    for name, place in (("new", 0), ("some", _COUNT // 3), ("all", _COUNT)):
        await storage.log.commit(ISSUERS[0], name, place, 1_000)


async def _open_file(path: Path) -> SqliteStorage:
    return await SqliteStorage.open(path)


@pytest.mark.timeout(120)
@ENGINES
async def test_what_is_backed_up_while_a_gateway_stores_is_restored_with_its_cursors_under_a_new_epoch(
    stage: Stage, engine: Engine
) -> None:
    events, later = notifications(_COUNT, seed=31), notifications(20, seed=32, first=_COUNT)
    file = stage.folder / "backup.db"
    async with stage.opened(engine) as storage:
        await fill(storage.log, events)
        await _subscribe(storage)
        await storage.key_value_store.put("record", b"sealed", 3600)
        subscriptions, next_ones, epoch = (
            await storage.log.list_subscriptions(),
            await left(storage.log),
            storage.log.log_id,
        )
        made = await _run(stage, engine, "backup", file)
        await fill(storage.log, later)
    checked = await _run(stage, engine, "check", file)
    restored = await _run(stage, engine, "restore", file, environment=_ELSEWHERE if engine is NATS else {})

    assert (made.status, made.stderr) == (0, "")
    assert made.stdout.startswith(f"backed up {_COUNT} notifications and 3 subscriptions: {file}, ")
    assert f"epoch {epoch}, last cursor {epoch}-{_COUNT}, " in made.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (checked.status, checked.stdout.splitlines()[-1]) == (0, "nothing is damaged")
    assert (restored.status, restored.stderr) == (0, ""), restored
    assert f"restored {_COUNT} notifications and 3 subscriptions of 20" in restored.stdout
    if engine is SQLITE:
        assert "and has up to 20 later notifications" in restored.stdout
        (aside,) = stage.folder.glob("d1-gateway.db.before-*")
        for path, kept in ((aside, [*events, *later]), (stage.file, events)):
            storage = await _open_file(path)
            assert await held(storage.log) == kept
            assert (storage.log.log_id == epoch) is (path == aside)
            assert await storage.key_value_store.get("record") == b"sealed"
            assert path == aside or await left(storage.log) == next_ones
            assert await storage.log.list_subscriptions() == subscriptions
            await storage.close()
    else:
        found = await _run(stage, engine, "stat", "--json", environment=_ELSEWHERE)
        assert json.loads(found.stdout)["notifications"] == _COUNT
        assert [each["cursor"].rpartition("-")[2] for each in json.loads(found.stdout)["subscriptions"]] == [
            str(each.committed) for each in subscriptions
        ]
        assert json.loads(found.stdout)["epoch"] != epoch


async def test_a_backup_of_nats_becomes_a_file_and_a_log_that_is_there_is_not_replaced_at_nats(stage: Stage) -> None:
    events, file = notifications(50, seed=33), stage.folder / "backup.db"
    async with stage.opened(NATS) as storage:
        await fill(storage.log, events)
        await storage.log.commit(ISSUERS[0], "some", 20, 1_000)
        expected = await left(storage.log)

    made = await _run(stage, NATS, "backup", file)
    refused = await _run(stage, NATS, "restore", file)
    restored = await _run(stage, SQLITE, "restore", file)

    assert (made.status, "idempotency records and results of authentications are not in it" in made.stdout) == (0, True)
    assert "an event log at NATS, which a restore does not replace: set nats.prefix" in refused.only_line(2)
    assert restored.status == 0
    storage_of_file = await _open_file(stage.file)
    assert await held(storage_of_file.log) == events
    assert await left(storage_of_file.log) == expected
    await storage_of_file.close()


async def test_a_restore_into_nats_that_was_interrupted_goes_on(stage: Stage) -> None:
    events, file = notifications(2_500, seed=34), stage.folder / "backup.db"
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, events)
    assert (await _run(stage, SQLITE, "backup", file)).status == 0
    settings = stage.settings_file()
    command = (Path(sys.executable).with_name("d1-gateway"), "log", "restore", file, "--config", settings)

    async with stage.opened(NATS) as storage, started(*command) as process:
        while process.returncode is None and (await storage.log.bounds()).last < 200:  # noqa: ASYNC110  another process's work
            await asyncio.sleep(0.005)
        process.kill()
        await process.communicate()
        assert 200 <= (await storage.log.bounds()).last < 2_500
        again = await _run(stage, NATS, "restore", file)
        assert (again.status, again.stderr) == (0, "")
        assert await held(storage.log) == events


async def test_with_keep_epoch_cursors_stay_valid(stage: Stage) -> None:
    file = stage.folder / "backup.db"
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, notifications(5))
        epoch = storage.log.log_id
    await _run(stage, SQLITE, "backup", file)
    stage.file.unlink()  # Left beside the backup by its reader: not a log.

    done = await _run(stage, SQLITE, "restore", file, "--keep-epoch")
    at_nats = await _run(stage, NATS, "restore", file, "--keep-epoch")

    assert (done.status, f"the epoch is still {epoch}: cursors stay valid" in done.stdout) == (0, True)
    assert list(stage.folder.glob("*.before-*")) == []
    storage = await _open_file(stage.file)
    assert storage.log.log_id == epoch
    await storage.close()
    assert "always has a new epoch" in at_nats.only_line(2)


async def _gaps_of_the_next_start(storage: Storage) -> list[Gap]:
    records = Records(storage.key_value_store)
    await Gaps(storage.log, records, ISSUERS[:1], BackfillSettings(), now_ms=wall_clock_ms).look()
    return sorted((await records.gaps(ISSUERS[0])).values(), key=lambda gap: gap.since_ms)


async def test_a_restored_log_has_a_gap_since_its_backup_was_made(stage: Stage) -> None:
    file, now_ms = stage.folder / "backup.db", wall_clock_ms()
    hour_ms = 3_600_000
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, notifications(5, end_ms=now_ms - 5 * hour_ms))
        records = Records(storage.key_value_store)
        await records.put_alive(Alive(now_ms, storage.log.log_id))
    await _run(stage, SQLITE, "backup", file)
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, notifications(5, first=5, end_ms=now_ms))
        await Records(storage.key_value_store).put_alive(Alive(now_ms + 1000, storage.log.log_id))

    assert (await _run(stage, SQLITE, "restore", file, "--keep-epoch")).status == 0
    async with stage.opened(SQLITE) as storage:
        (gap,) = await _gaps_of_the_next_start(storage)
        assert gap.cause is Cause.LOG_LOSS
        assert now_ms <= gap.since_ms <= gap.until_ms <= wall_clock_ms()
    assert (await _run(stage, SQLITE, "restore", file)).status == 0
    async with stage.opened(SQLITE) as storage:
        (gap,) = await _gaps_of_the_next_start(storage)
        assert gap.cause is Cause.LOG_LOSS
        assert abs(gap.since_ms - now_ms + 5 * hour_ms) < 1000
    assert (await _run(stage, NATS, "restore", file)).status == 0
    async with stage.opened(NATS) as shared:
        (gap,) = await _gaps_of_the_next_start(shared)
        assert gap.cause is Cause.OUTAGE
        assert abs(gap.since_ms - now_ms + 5 * hour_ms) < 1000


async def test_what_waits_for_a_backfill_goes_with_a_copy_and_a_backup(stage: Stage) -> None:
    file = stage.folder / "backup.db"
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, notifications(5))
        records = Records(storage.key_value_store)
        await records.put_alive(Alive(1, storage.log.log_id))
        await records.put_swept(1)
        gap, refused, progress = Gap(1, 2, Cause.OUTAGE), Refused(3, 4, 5), Progress(["1-2"], 1, "card-1", 9, 5)
        await records.add_gap(ISSUERS[0], gap)
        await records.add_refused(ISSUERS[0], "card-1", refused)
        await records.put_progress(ISSUERS[0], progress)
        for number in range(500):
            await records.add_active(ISSUERS[0], f"card-{number}", 3600)
        listed = [*await storage.key_value_store.keys("backfill")]

    async def is_there(storage: Storage) -> bool:
        records = Records(storage.key_value_store)
        assert [*await storage.key_value_store.keys("backfill")] == [
            key for key in listed if key not in {"backfill.alive", "backfill.sweep"}
        ]
        assert list((await records.gaps(ISSUERS[0])).values()) == [gap]
        found = await records.refused((await records.refused_keys(ISSUERS[0]))[0])
        assert found is not None
        assert (found[1], await records.progress(ISSUERS[0])) == (refused, progress)
        assert len(await records.active_cards(ISSUERS[0])) == 500
        return True

    arguments = ("log", "copy", "--from", "sqlite", "--to", "nats", "--config", stage.settings_file())
    assert (await d1_gateway(*arguments, seconds=60)).status == 0
    async with stage.opened(NATS) as shared:
        assert await is_there(shared)
    assert (await _run(stage, NATS, "backup", file)).status == 0
    assert (await _run(stage, SQLITE, "restore", file)).status == 0
    async with stage.opened(SQLITE) as storage:
        assert await is_there(storage)


async def test_a_restore_over_a_running_gateway_is_refused_and_a_key_that_does_not_fit_is_told(stage: Stage) -> None:
    file = stage.folder / "backup.db"
    async with stage.opened(SQLITE) as storage:
        await storage.key_value_store.put("idempotency-key-id", b"0123456789abcdef", 3600)
        made = await _run(stage, SQLITE, "backup", file)
        before = stage.file.read_bytes()
        refused = await _run(stage, SQLITE, "restore", file)
        assert stage.file.read_bytes() == before
    restored = await _run(stage, SQLITE, "restore", file)

    assert "encrypted under the key 0123456789abcdef" in made.stdout
    assert f"keep a copy of {stage.file}.key, at another place" in made.stdout
    assert "in use by another process; stop it first" in refused.only_line(2)
    assert list(stage.folder.glob(".*")) == []
    assert restored.status == 0
    assert f"under the key 0123456789abcdef, but {stage.file}.key is missing: put that key file back" in restored.stderr


def _names(stage: Stage) -> list[str]:
    # Without those that a reader of the file makes.
    return sorted(each.name for each in stage.folder.iterdir() if not each.name.endswith(("-shm", "-wal")))


def _limited(stage: Stage, size: int, *arguments: str | Path) -> Sequence[str | Path]:
    """Return a command that can write no file beyond a size, as on a full disk."""
    d1_gateway = Path(sys.executable).with_name("d1-gateway")
    return (
        "prlimit",
        f"--fsize={size}",
        d1_gateway,
        "log",
        *arguments,
        "--config",
        stage.settings_file(with_nats=False),
    )


async def test_on_a_full_disk_a_backup_leaves_nothing_and_a_restore_the_log_that_was_there(stage: Stage) -> None:
    events, file, old = notifications(2_000, seed=35), stage.folder / "backup.db", stage.folder / "old.db"
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, events)
        assert (await _run(stage, SQLITE, "backup", old)).status == 0
    before, names = stage.file.read_bytes(), _names(stage)

    for command, promise in (
        (("backup", file), "nothing of it is left"),
        (("backup", old, "--force"), "nothing of it is left"),
        (("restore", old), "nothing was changed"),
    ):
        async with started(*_limited(stage, 300_000, *command)) as process:
            _, stderr = await process.communicate()
        assert (process.returncode, promise in stderr.decode()) == (1, True), stderr
        assert stage.file.read_bytes() == before
        assert _names(stage) == names
    assert (await _run(stage, SQLITE, "check", old)).status == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_kill_at_any_step_leaves_the_former_file_or_the_new_one(tmp_path: Path, command: str) -> None:
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-m", "tests.integration.event_log_copy.killed_at_each_step", command, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=170,
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["former"] > 3
    assert seen["new"] >= 1
    assert seen["strange"] == []


async def test_what_was_copied_from_a_backup_is_not_copied_again_from_its_log(stage: Stage) -> None:
    file, unpacked = stage.folder / "backup.db", {"D1_GATEWAY_EVENT_LOG__PATH": str(stage.folder / "copy.db")}
    events = notifications(300, seed=37)
    async with stage.opened(SQLITE) as storage:
        await fill(storage.log, events[:200])
        assert (await _run(stage, SQLITE, "backup", file)).status == 0
        await fill(storage.log, events[200:])
    settings = stage.settings_file(with_nats=False)
    kept = await invoked(GATEWAY, "log", "restore", "--keep-epoch", file, "--config", settings, environment=unpacked)

    first = await _run(stage, NATS, "copy", "--from", "sqlite", "--to", "nats", environment=unpacked)
    second = await _run(stage, NATS, "copy", "--from", "sqlite", "--to", "nats")

    assert kept.status == 0
    assert first.stdout.startswith("copied 200 notifications, 0 already present; ")
    assert second.stdout.startswith("copied 100 notifications, 200 already present; ")
    assert second.stderr == ""
