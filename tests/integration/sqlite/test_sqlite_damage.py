"""A file that the disk has changed: what is damaged is not served, and nothing is acknowledged into a broken file."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from random import Random
from typing import Final

import pytest
from structlog.testing import capture_logs

from adapters.sqlite import EventLogOpenError, SqliteEventLog
from gateway.errors import GatewayError
from gateway.ports import Damage, EventDamagedError, Scope, StoredEvent, StoredSubscription
from issuer.common.v1 import error_pb2
from tests.integration.sqlite.sqlite_events import (
    ISSUER,
    NO_STORE,
    append_all,
    event,
    numbers,
    opened,
    opened_storage,
    unavailable,
)

EVENTS: Final = 300
FLIPS: Final = 120


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA ignore_check_constraints = 1")
        assert other.execute(statement, values).rowcount == 1


async def read_on(log: SqliteEventLog, found: list[StoredEvent], limit: int = 100) -> None:
    """Read everything behind what was found."""
    while events := (await log.read(found[-1].sequence if found else 0, limit)).events:
        found += events


async def read_payloads_on(log: SqliteEventLog, found: list[tuple[int, bytes]], limit: int = 100) -> None:
    """As `read_on`, but what is sent to a watcher of all of the issuer's."""
    after = found[-1][0] if found else 0
    while (read := await log.read_payloads(after, limit, ISSUER)).through > after:
        found += zip(read.sequences, read.payloads, strict=True)
        after = read.through


CHANGES = [
    "UPDATE event SET payload = CAST(substr(payload, 2) AS BLOB) WHERE sequence = 5",
    "UPDATE event SET issuer_id = 'ISSUER0002' WHERE sequence = 5",
    "UPDATE event SET subject_id = 'card-?' WHERE sequence = 5",
    "UPDATE event SET operation_id = CAST(x'ff' AS TEXT) WHERE sequence = 5",
    "UPDATE event SET consumer_id = '' WHERE sequence = 5",
    "UPDATE event SET state = 'PENDING' WHERE sequence = 5",
    "UPDATE event SET kind = 2 WHERE sequence = 5",
    "UPDATE event SET operation_type = operation_type + 1 WHERE sequence = 5",
    "UPDATE event SET status = status + 1 WHERE sequence = 5",
    "UPDATE event SET receive_time_ms = receive_time_ms + 4294967296 WHERE sequence = 5",
    "UPDATE event SET sequence = 10 WHERE sequence = 5",
]


@pytest.mark.parametrize("statement", CHANGES)
async def test_an_event_that_was_changed_is_not_served_and_those_before_it_are(path: Path, statement: str) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
    change(path, statement)

    async with opened(path) as log:
        found: list[StoredEvent] = []
        with capture_logs() as logged:
            for _ in range(2):
                with pytest.raises(EventDamagedError) as raised:
                    await read_on(log, found)
        following = await log.read(5, 100) if "sequence = 10" not in statement else None
        is_new = await log.append(event(11))

    expected = 10 if "sequence = 10" in statement else 5
    assert [stored.sequence for stored in found] == [each for each in range(1, expected) if each != 5 or expected == 5]
    assert (raised.value.sequence, raised.value.is_skipped) == (expected, False)
    assert [(line["event"], line["log_level"], line["what"]) for line in logged] == [
        ("event_log_damaged", "error", f"notification {expected}")
    ]
    assert list(log.damage) == list(log.damaged_events) == [f"notification {expected}"]
    assert following is None or [stored.sequence for stored in following.events] == [6, 7, 8, 9]
    assert is_new, "the others are as good as before"


PAYLOAD_CHANGES = [
    CHANGES[0],
    CHANGES[1],
    CHANGES[-1],
    "UPDATE event SET payload = CAST(payload AS TEXT) WHERE sequence = 5",
    "UPDATE event SET issuer_id = CAST(issuer_id AS BLOB) WHERE sequence = 5",
    "UPDATE event SET issuer_id = CAST(x'ff' AS TEXT) WHERE sequence = 5",
]


@pytest.mark.parametrize("statement", PAYLOAD_CHANGES)
async def test_a_payload_that_was_changed_is_not_sent_and_those_before_it_are(path: Path, statement: str) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
    with closing(sqlite3.connect(path)) as other:
        # A disk does not know the types of columns.
        other.execute("PRAGMA writable_schema = 1")
        other.execute("UPDATE sqlite_schema SET sql = replace(sql, ' STRICT', '') WHERE name = 'event'")
        other.commit()
    change(path, statement)

    async with opened(path) as log:
        found: list[tuple[int, bytes]] = []
        with pytest.raises(EventDamagedError) as raised:
            await read_payloads_on(log, found)

    expected = 10 if "sequence = 10" in statement else 5
    assert [sequence for sequence, _ in found] == [each for each in range(1, expected) if each != 5 or expected == 5]
    assert raised.value.sequence == expected
    assert list(log.damaged_events) == [f"notification {expected}"]


async def test_a_payload_is_sent_as_long_as_one_of_its_checksums_says_so(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
    change(path, "UPDATE event SET payload_checksum = payload_checksum + 1 WHERE sequence = 5")
    change(path, "UPDATE event SET payload_checksum = NULL WHERE sequence = 6")
    change(path, "UPDATE event SET checksum = checksum + 1 WHERE sequence = 8")

    async with opened(path) as log:
        found: list[tuple[int, bytes]] = []
        await read_payloads_on(log, found, limit=2)
        assert [sequence for sequence, _ in found] == list(range(1, 10))
        assert not log.damage


@contextmanager
def without_indices(path: Path) -> Iterator[None]:
    """Hide the indices, so that they keep what the table had."""
    indices = "type = 'index' AND tbl_name = 'event'"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        kept = other.execute(f"SELECT * FROM sqlite_schema WHERE {indices}").fetchall()  # noqa: S608  constant
        other.execute("PRAGMA writable_schema = 1")
        other.execute(f"DELETE FROM sqlite_schema WHERE {indices}")  # noqa: S608  constant
    yield
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA writable_schema = 1")
        other.executemany("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", kept)


@pytest.mark.parametrize("sequence", [1, 5, 9])
async def test_an_event_that_has_vanished_is_noticed_wherever_it_was(path: Path, sequence: int) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number, time_ms=number) for number in range(1, 10)])
    # As a flipped number of cells does.
    with without_indices(path):
        change(path, "DELETE FROM event WHERE sequence = ?", sequence)

    async with opened(path) as log:
        found: list[StoredEvent] = []
        with pytest.raises(EventDamagedError) as raised:
            await read_on(log, found)
        payloads: list[tuple[int, bytes]] = []
        with pytest.raises(EventDamagedError):
            await read_payloads_on(log, payloads)
        assert [stored for stored, _ in payloads] == list(range(1, sequence))
        assert await log.append(event(10, time_ms=10))
        assert (await log.bounds()).last == 10, "no position is given away twice"

    assert raised.value.sequence == sequence
    assert [stored.sequence for stored in found] == list(range(1, sequence))


async def test_a_subjects_events_end_before_a_damaged_one(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
    change(path, CHANGES[0])
    scope = Scope(ISSUER, 1, event(1).subject_id)

    async with opened(path) as log:
        read = await log.read(0, 100, scope)
        assert ([stored.sequence for stored in read.events], read.through) == ([1, 2, 3, 4], 4)
        with pytest.raises(EventDamagedError):
            await log.read(4, 100, scope)


async def test_a_damaged_event_that_is_skipped_is_told_as_such_until_it_is_trimmed(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
    change(path, CHANGES[0])

    async with opened(path) as log:
        assert [await log.skip(number) for number in (4, 5, 5, 6, 99)] == [False, True, True, False, False]
    async with opened_storage(path) as storage:
        with pytest.raises(EventDamagedError) as raised:
            await storage.log.read(4, 100)
        assert (raised.value.sequence, raised.value.is_skipped) == (5, True)
        assert list(storage.log.damage) == []
        assert await storage.find_damage() == Damage([], [5], [])


@pytest.mark.parametrize("statement", [*CHANGES[:-1], "DELETE FROM event WHERE sequence = 5"])
@pytest.mark.parametrize("is_index_left", [False, True])
async def test_a_skipped_event_can_be_stored_again(path: Path, statement: str, *, is_index_left: bool) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
    with without_indices(path) if is_index_left or "DELETE" in statement else nullcontext():
        change(path, statement)

    async with opened(path) as log:
        assert await log.skip(5)
        assert not await log.skip(6)
        assert await log.append_in_order([event(5), event(6)]) == [True, False]
        assert [stored.event for stored in (await log.read(5, 100)).events] == [*map(event, (6, 7, 8, 9, 5))]
    async with opened_storage(path) as storage:
        damage = await storage.find_damage()
        # The index of times still has what vanished, which tells that it did.
        assert (damage.events, damage.skipped) == ([], [5])


async def test_the_events_of_a_log_of_an_earlier_version_get_their_checksums(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
        await log.commit(ISSUER, "watcher", 3, 1)
    with closing(sqlite3.connect(path)) as old:
        old.executescript("""
            DROP TABLE skipped_event;
            ALTER TABLE event DROP COLUMN checksum;
            ALTER TABLE event DROP COLUMN payload_checksum;
            ALTER TABLE subscription DROP COLUMN checksum;
            PRAGMA user_version = 5;
        """)

    with capture_logs() as logged:
        async with opened_storage(path) as storage:
            assert await numbers(storage.log) == list(range(1, 10))
            assert len((await storage.log.read_payloads(0, 100, ISSUER)).payloads) == 9
            assert await storage.find_damage() == Damage([], [], [])
        async with opened_storage(path):
            assert [line["event"] for line in logged] == ["event_log_migration_started"]
    change(path, CHANGES[0])
    async with opened_storage(path) as storage:
        assert await storage.find_damage() == Damage([5], [], [])


@pytest.mark.parametrize("column", ["committed", "commit_time_ms", "fencing_token", "stale_through"])
async def test_a_changed_subscription_is_not_believed_and_can_be_deleted(path: Path, column: str) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(1, 10)])
        await log.commit(ISSUER, "watcher", 3, 1)
        intact = await log.commit(ISSUER, "zealous", 3, 1)
    change(path, f"UPDATE subscription SET {column} = {column} + 1 WHERE name = 'watcher'")  # noqa: S608  constants

    async with opened(path) as log:
        for call in (log.get_subscription(ISSUER, "watcher"), log.commit(ISSUER, "watcher", 8, 1)):
            with pytest.raises(GatewayError, match="delete the subscription") as raised:
                await call
            assert raised.value.reason == error_pb2.ERROR_REASON_EVENT_DAMAGED
        assert await log.list_subscriptions() == [intact]
        assert list(log.damage) == [f"subscription watcher of {ISSUER}"]
        assert list(log.damaged_events) == [], "it ends no stream, so the gateway stays ready"
        assert await log.delete_subscription(ISSUER, "watcher")
        assert list(log.damage) == []
        assert (await log.commit(ISSUER, "watcher", 3, 1)).committed == 3


@pytest.mark.parametrize("name", ["CAST(x'ff' AS TEXT)", "'watchez'"])
async def test_a_subscription_whose_name_was_changed_is_noticed_at_the_start(path: Path, name: str) -> None:
    async with opened(path) as log:
        await log.commit(ISSUER, "watcher", 0, 1)
        intact = await log.commit(ISSUER, "zealous", 0, 1)
    change(path, f"UPDATE subscription SET name = {name} WHERE name = 'watcher'")  # noqa: S608  constants

    with capture_logs() as logged:
        async with opened(path) as log:
            assert len(log.damage) == 1
    assert [line["advice"].startswith("Delete the subscription") for line in logged] == [True]
    async with opened(path) as log:
        assert await log.list_subscriptions(ISSUER, limit=1) == [intact]


@contextmanager
def overwritten(path: Path) -> Iterator[None]:
    """Fill the pages in the middle of the file with zeros, from outside."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4_096 * 4_096)
        file.write(bytes(4 * 4_096))
    yield


async def test_once_a_reader_has_found_the_file_corrupt_nothing_is_acknowledged(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number, payload=bytes(1_000)) for number in range(EVENTS)])
    with overwritten(path):
        async with opened_storage(path) as storage:
            found: list[StoredEvent] = []
            waiter = asyncio.ensure_future(storage.log.wait_beyond(EVENTS))
            with capture_logs() as logged, pytest.raises(GatewayError) as raised:
                await read_on(storage.log, found)
            assert raised.value.reason == error_pb2.ERROR_REASON_EVENT_DAMAGED
            with unavailable():
                await storage.log.append(event(EVENTS))
            with unavailable(NO_STORE):
                await storage.key_value_store.put("key", b"value", 60)
            with pytest.raises(GatewayError) as ended:
                await waiter
            assert ended.value.reason == error_pb2.ERROR_REASON_EVENT_DAMAGED
            damage = await storage.find_damage()
    assert found
    assert found[-1].sequence < min(damage.events)
    assert damage.others
    assert [(line["event"], "skip" in line["advice"]) for line in logged] == [("event_log_damaged", False)]


async def test_of_all_flipped_bytes_none_is_served(path: Path, tmp_path: Path) -> None:
    some = Random(17)  # noqa: S311  reproducible
    async with opened_storage(path) as storage:
        for first in range(0, EVENTS, 10):
            batch = [event(first + n, time_ms=first, payload=some.randbytes(some.choice([80, 500]))) for n in range(10)]
            await append_all(storage.log, batch)
        for number in range(5):
            await storage.log.commit(ISSUER, f"watcher-{number}", number, 1)
        stored: list[StoredEvent] = []
        await read_on(storage.log, stored)
        subscriptions = await storage.log.list_subscriptions()
    content = path.read_bytes()  # noqa: ASYNC240  nothing else runs
    noticed = 0
    for number in range(FLIPS):
        place = some.randrange(len(content))
        flipped = bytearray(content)
        flipped[place] ^= some.randrange(1, 256)
        copy = tmp_path / f"{number}.db"
        copy.write_bytes(flipped)
        noticed += await _is_noticed(copy, stored, subscriptions)

    assert noticed > FLIPS / 3


async def _is_noticed(path: Path, stored: list[StoredEvent], subscriptions: Sequence[StoredSubscription]) -> bool:
    found: list[StoredEvent] = []
    is_noticed = False
    try:
        async with opened(path) as log:
            try:
                await read_on(log, found)
                assert found == stored, path
            except GatewayError:
                is_noticed = True
                assert found == stored[: len(found)], path
            payloads: list[tuple[int, bytes]] = []
            with suppress(GatewayError):
                await read_payloads_on(log, payloads)
                assert len(payloads) == len(stored), path
            assert payloads == [(each.sequence, each.event.payload) for each in stored[: len(payloads)]], path
            with suppress(GatewayError):
                listed = await log.list_subscriptions()
                assert set(listed) <= set(subscriptions), path
                assert listed == subscriptions or log.damage, path
            is_noticed = is_noticed or bool(log.damage)
    except EventLogOpenError:
        is_noticed = True
    return is_noticed
