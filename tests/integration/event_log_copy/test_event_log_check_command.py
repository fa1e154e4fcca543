"""``d1-gateway log check`` and ``log skip`` as a shell runs them."""

import sqlite3
from contextlib import closing

import pytest

from adapters.nats.event_log.envelope import headers_of, pack
from gateway.ports import Engine, EventDamagedError
from tests.e2e.command import Ended, d1_gateway
from tests.integration.event_log_copy.copy_stage import Stage, fill, notifications

ENGINES = pytest.mark.parametrize("engine", list(Engine))


async def _run(stage: Stage, engine: Engine, *arguments: str) -> Ended:
    settings = stage.settings_file(with_nats=engine is Engine.NATS)
    return await d1_gateway("log", *arguments, "--config", settings, seconds=60)


async def _damage_the_third_of_five(stage: Stage, engine: Engine) -> None:
    events = notifications(5)
    async with stage.opened(engine) as storage:
        await fill(storage.log, events[:2] if engine is Engine.NATS else events)
    if engine is Engine.SQLITE:
        with closing(sqlite3.connect(stage.file, isolation_level=None)) as file:
            file.execute("UPDATE event SET payload = x'00' WHERE sequence = 3")
        return
    async with stage.nats_storage() as storage:
        content = pack(events[2])
        headers = headers_of(events[2], content)
        await storage.connection.request(storage.names.event(events[2]), content + b"?", headers=headers)
        await fill(storage.log, events[3:])


@ENGINES
async def test_a_damaged_notification_is_listed_and_skipped_and_an_intact_one_is_not(
    stage: Stage, engine: Engine
) -> None:
    await _damage_the_third_of_five(stage, engine)

    found = await _run(stage, engine, "check")
    intact = await _run(stage, engine, "skip", "2")
    skipped = await _run(stage, engine, "skip", "3")
    again = await _run(stage, engine, "check")

    assert (found.status, found.stdout, found.stderr) == (1, "notification 3 is damaged\n", "")
    assert (intact.status, intact.stdout) == (1, "")
    assert intact.stderr == "d1-gateway: notification 2 is not damaged: nothing was changed\n"
    assert (skipped.status, skipped.stdout, skipped.stderr) == (0, "notification 3 is skipped\n", "")
    listed = "notification 3 is damaged, and skipped\nnothing else is damaged\n"
    assert (again.status, again.stdout, again.stderr) == (0, listed, "")
    async with stage.opened(engine) as storage:
        with pytest.raises(EventDamagedError) as raised:
            await storage.log.read(2, 10)
        assert raised.value.is_skipped
        assert len(await storage.key_value_store.keys("backfill.gap")) == 1, "a gateway looks for it in D1's history"
        assert await storage.log.append(notifications(5)[2]), "what it finds there is no duplicate"


@ENGINES
async def test_an_intact_log_is_told_to_be_so(stage: Stage, engine: Engine) -> None:
    async with stage.opened(engine) as storage:
        await fill(storage.log, notifications(20))

    done = await _run(stage, engine, "check")
    beyond = await _run(stage, engine, "skip", str(2**63 - 1))
    impossible = await _run(stage, engine, "skip", str(2**63))

    assert (done.status, done.stdout, done.stderr) == (0, "nothing is damaged\n", "")
    assert (beyond.status, "is not damaged" in beyond.stderr) == (1, True)
    assert (impossible.status, "Invalid value for 'sequence'" in impossible.stderr) == (2, True)


async def test_a_damaged_index_is_listed_although_every_notification_is_intact(stage: Stage) -> None:
    async with stage.opened(Engine.SQLITE) as storage:
        await fill(storage.log, notifications(20))
    with closing(sqlite3.connect(stage.file, isolation_level=None)) as file:
        file.execute("PRAGMA writable_schema = 1")
        file.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'operation_id', 'consumer_id') WHERE name = 'event_identity'"
        )

    done = await _run(stage, Engine.SQLITE, "check")

    assert done.status == 1
    assert "damaged: structure: row 1 missing from index event_identity" in done.stdout


async def test_a_file_that_a_gateway_uses_is_checked_and_one_that_is_not_there_is_not(stage: Stage) -> None:
    missing = await _run(stage, Engine.SQLITE, "check")
    async with stage.opened(Engine.SQLITE) as storage:
        await fill(storage.log, notifications(20))
        used = await _run(stage, Engine.SQLITE, "check")
        skipped = await _run(stage, Engine.SQLITE, "skip", "2")

    assert (missing.status, "does not exist" in missing.stderr) == (2, True)
    assert (used.status, used.stdout, used.stderr) == (0, "nothing is damaged\n", "")
    assert (skipped.status, "in use by another process" in skipped.stderr) == (2, True)
