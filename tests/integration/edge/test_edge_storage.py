"""A 204 means that a notification is on disk, whole and once; any other status that it is not."""

import asyncio
import io
import shutil
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from google.protobuf import json_format

from tests.integration.edge.edge_caller import EdgeCaller, consumer_event, edge_log, event
from tests.running import running_gateway, settings_for

_KINDS = pytest.mark.parametrize(
    ("notify", "body"),
    [(EdgeCaller.notify, event), (EdgeCaller.notify_consumer, consumer_event)],
    ids=["card", "consumer"],
)


def _on_disk(caller: EdgeCaller, subject: str | None = None) -> list[str]:
    query = "SELECT operation_id FROM event WHERE subject_id LIKE ? ORDER BY sequence"
    with closing(sqlite3.connect(caller.running.event_log)) as database:
        return [row[0] for row in database.execute(query, [subject or caller.card_id])]


async def test_a_notification_with_a_204_is_on_disk(caller: EdgeCaller) -> None:
    response = await caller.notify(event(operationId="op_7"))
    assert _on_disk(caller) == ["op_7"]
    assert (response.status, response.body) == (204, b"")


@_KINDS
async def test_a_duplicate_gets_a_204_but_is_not_stored_again(caller: EdgeCaller, notify: Any, body: Any) -> None:
    responses = await asyncio.gather(*(notify(caller) for _ in range(50)))
    assert {response.status for response in responses} == {204}
    assert (await notify(caller, body(error="another text"))).status == 204
    (held,) = await caller.stored()
    assert (held.three_ds_operation.error or held.consumer_operation.error) == ""


@_KINDS
async def test_each_state_of_an_operation_is_stored_once(caller: EdgeCaller, notify: Any, body: Any) -> None:
    bodies = [body(status=status) for status in ("PENDING", "SUCCESSFUL", "ON_HOLD") * 2]
    bodies.append(body(operation="DISCOVERED", status="SUCCESSFUL"))
    assert [(await notify(caller, each)).status for each in bodies] == [204] * 7
    operations = [getattr(each, each.WhichOneof("event") or "") for each in await caller.stored()]
    assert [(each.type_text == "DISCOVERED", each.status_text) for each in operations] == [
        (False, "PENDING"),
        (False, "SUCCESSFUL"),
        (False, "ON_HOLD"),
        (True, "SUCCESSFUL"),
    ]


async def test_an_operation_id_counts_within_its_card_or_consumer_alone(caller: EdgeCaller) -> None:
    one, two = f"{caller.card_id}-one", f"{caller.card_id}-two"
    for subject in (one, two, one):
        for notified in (caller.notify(card_id=subject), caller.notify_consumer(consumer_id=subject)):
            response = await notified
            assert (response.status, response.body) == (204, b"")
    assert [(held.WhichOneof("event"), held.card_id, held.consumer_id) for held in await caller.stored()] == [
        ("three_ds_operation", one, "consumer-1"),
        ("consumer_operation", "", one),
        ("three_ds_operation", two, "consumer-1"),
        ("consumer_operation", "", two),
    ]


async def test_many_notifications_at_once_are_all_stored_in_one_order(caller: EdgeCaller) -> None:
    names = [f"op_{number}" for number in range(200)]
    responses = await asyncio.gather(
        *(caller.notify(event(operationId=name), f"{caller.card_id}-{place % 7}") for place, name in enumerate(names))
    )
    assert [response.status for response in responses] == [204] * 200
    one, two = await asyncio.gather(caller.stored(), caller.stored())
    assert one == two
    held = [each.three_ds_operation.operation_id for each in one]
    assert held == _on_disk(caller, f"{caller.card_id}-%")
    assert sorted(held) == sorted(names)
    sequences = [int(each.cursor.partition("-")[2]) for each in one]
    assert sequences == sorted(set(sequences))


async def test_while_the_storage_is_busy_d1_gets_a_retry_after(caller: EdgeCaller) -> None:
    both = (caller.notify, caller.notify_consumer)
    with closing(sqlite3.connect(caller.running.event_log, isolation_level=None)) as other, edge_log() as logged:
        other.execute("BEGIN EXCLUSIVE")
        responses = await asyncio.gather(*(notify() for notify in both * 3))
        assert {response.error(503) for response in responses} == {"EVENT_LOG_UNAVAILABLE"}
        assert {response.headers["retry-after"] for response in responses} == {"1"}
        assert _on_disk(caller) == []
    rejected = [entry for entry in logged if entry["event"] == "callback_rejected"]
    assert [entry["status"] for entry in rejected] == [503] * 6
    assert all(entry["cause"].startswith("The event log's storage failed (") for entry in rejected), "the log says why"
    assert [(await notify()).status for notify in both] == [204, 204]
    assert len(await caller.stored()) == 2


async def test_what_was_stored_before_a_restart_is_still_a_duplicate_after_it(caller: EdgeCaller) -> None:
    for operation in ("op_1", "op_2"):
        assert (await caller.notify(event(operationId=operation))).status == 204
    held = await caller.stored()
    folder = caller.running.event_log.parent / "copy"
    folder.mkdir()
    with (
        closing(sqlite3.connect(caller.running.event_log)) as database,
        closing(sqlite3.connect(folder / "d1-gateway.db")) as copy,
    ):
        database.backup(copy)
    # Two files belong to a backup.
    shutil.copy(caller.running.event_log.with_name("d1-gateway.db.key"), folder)
    sandbox = caller.running.sandbox
    async with running_gateway(sandbox, settings_for(sandbox, folder)) as restored:
        caller.running = restored
        assert (await caller.notify()).status == 204
        assert await caller.stored() == held


async def test_the_correlation_id_is_kept_as_d1_sent_it(caller: EdgeCaller) -> None:
    sent = ["from-d1_42", "2022.06.16 id/1", "x" * 65, "x" * 1000, "\u00e4\u20ac", 'a"b', "", " "]
    for number, given in enumerate(sent):
        headers = {"x-correlation-id": given}
        assert (await caller.notify(event(operationId=f"op_{number}"), **headers)).status == 204
    assert (await caller.notify_consumer(**{"x-correlation-id": "v1.id"})).status == 204
    *kept, absent, blank, of_consumer = [each.correlation_id for each in await caller.stored()]
    assert kept == sent[:-2]
    assert of_consumer == "v1.id"
    assert absent
    assert blank not in ("", " ", absent)


async def test_a_correlation_id_that_is_no_text_loses_nothing_but_what_is_none(caller: EdgeCaller) -> None:
    async with caller.connection() as (reader, writer):
        writer.write(caller.raw_event().replace(b"Host: edge", b"Host: edge\r\nx-correlation-id: a\xffb"))
        assert (await caller.read(reader)).status == 204
    (held,) = await caller.stored()
    assert held.correlation_id == "a?b"


@_KINDS
async def test_a_batch_is_stored_operation_by_operation_in_its_order(
    caller: EdgeCaller, notify: Any, body: Any
) -> None:
    batch = {
        "operations": [body(), body(operationId="op_2"), body(status="PENDING"), body()],
        "sentBy": "D1",
        "startTime": "2023-01-01T00:00:00Z",
    }
    assert [(await notify(caller, batch)).status for _ in range(2)] == [204, 204]
    operations = [getattr(each, each.WhichOneof("event") or "") for each in await caller.stored()]
    assert [(each.operation_id, each.status_text) for each in operations] == [
        ("op_1", "SUCCESSFUL"),
        ("op_2", "SUCCESSFUL"),
        ("op_1", "PENDING"),
    ]
    assert {each.start_time_text for each in operations} == {body()["startTime"]}, "its own counts"
    assert {each.unrecognized["sentBy"] for each in operations} == {"D1"}
    assert (await notify(caller, {"operations": []})).status == 204


@_KINDS
async def test_of_a_batch_all_is_stored_but_what_has_no_usable_id(caller: EdgeCaller, notify: Any, body: Any) -> None:
    odd = [body(operationId=...), None, "op_9", [body()]]
    for place, item in enumerate(odd):
        response = await notify(caller, {"operations": [body(operationId=f"op_{place}"), item, body(status="FAILED")]})
        assert response.error(400).startswith("operations[1].operationId must match ")
    operations = [getattr(each, each.WhichOneof("event") or "") for each in await caller.stored()]
    assert [each.operation_id for each in operations] == ["op_0", "op_1", "op_1", "op_2", "op_3"]


async def test_an_operation_with_an_id_is_one_even_with_a_list_of_operations_beside(caller: EdgeCaller) -> None:
    assert (await caller.notify(event(operations=["a", "b"]))).status == 204
    (held,) = await caller.stored()
    assert json_format.MessageToDict(held.three_ds_operation.unrecognized) == {"operations": ["a", "b"]}


def _noted(caller: EdgeCaller) -> bool:
    """Return whether the card is noted for a backfill, and forget it."""
    with closing(sqlite3.connect(caller.running.event_log, timeout=30)) as database, database:
        key = f"backfill.card.{caller.running.sandbox.issuer_id}.{caller.card_id}"
        return database.execute("DELETE FROM entry WHERE key = ?", [key]).rowcount > 0


async def test_the_card_of_a_notification_that_is_refused_or_not_understood_is_noted(caller: EdgeCaller) -> None:
    def noted() -> Any:
        return asyncio.to_thread(_noted, caller)

    async def becomes_noted() -> None:
        async with asyncio.timeout(10):
            while not await noted():  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)

    for body in (event(operationId="no id"), event(operationId=...), {"operations": [event(), event(operationId=7)]}):
        assert (await caller.notify(body)).status == 400
        await becomes_noted()
    assert (await caller.post(b"{", "text/plain")).status == 415
    await becomes_noted()
    assert (await caller.post(b'{"operationId": ')).status == 400
    await becomes_noted()
    assert (await caller.post(io.BytesIO(b" " * 2_000_000))).status == 413
    await becomes_noted()
    for body in (event(operationId="op_2", status=...), event(operationId="op_3", operation="x" * 65)):
        assert (await caller.notify(body)).status == 204
        await becomes_noted()

    for body in (event(operationId="op_4"), event(operationId="op_4"), event(operationId="op_5", status="NEW")):
        assert (await caller.notify(body)).status == 204
    assert (await caller.notify_consumer(consumer_event(operationId=...))).status == 400
    assert (await caller.notify(event(), card_id="a.b")).status == 400
    await asyncio.sleep(0.2)
    assert not await noted()


async def test_the_card_of_a_notification_that_breaks_off_is_noted(caller: EdgeCaller) -> None:
    async with caller.connection() as (_, writer):
        writer.write(caller.raw_event()[:-10])
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(_noted, caller):  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)
