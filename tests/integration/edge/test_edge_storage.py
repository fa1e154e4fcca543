"""A 204 means that a notification is on disk, once; any other status that it is not."""

import asyncio
import sqlite3
import time
from contextlib import closing

from structlog.testing import capture_logs

from tests.integration.edge.edge_caller import EdgeCaller, event, stored
from tests.running import running_gateway, settings_for


def _on_disk(caller: EdgeCaller) -> list[str]:
    with closing(sqlite3.connect(caller.running.event_log)) as database:
        return [row[0] for row in database.execute("SELECT operation_id FROM event ORDER BY sequence")]


async def test_a_notification_with_a_204_is_on_disk(caller: EdgeCaller) -> None:
    response = await caller.notify(event(operationId="op_7"))
    assert _on_disk(caller) == ["op_7"]
    assert (response.status, response.body) == (204, b"")


async def test_a_duplicate_gets_a_204_but_is_not_stored_again(caller: EdgeCaller) -> None:
    again = event(status="FAILED", error="told differently")
    assert [(await caller.notify(body)).status for body in (event(), event(), again)] == [204, 204, 204]
    (held,) = await stored(caller.running)
    assert held.three_ds_operation.status_text == "SUCCESSFUL"


async def test_the_same_operation_id_on_another_card_is_another_operation(caller: EdgeCaller) -> None:
    for card_id in ("card-1", "card-2", "card-1"):
        assert (await caller.notify(card_id=card_id)).status == 204
    assert [each.card_id for each in await stored(caller.running)] == ["card-1", "card-2"]


async def test_the_same_notification_many_times_at_once_is_stored_once(caller: EdgeCaller) -> None:
    responses = await asyncio.gather(*(caller.notify() for _ in range(50)))
    assert {response.status for response in responses} == {204}
    assert _on_disk(caller) == ["op_1"]


async def test_many_notifications_at_once_are_all_stored_in_one_order(caller: EdgeCaller) -> None:
    names = [f"op_{number}" for number in range(200)]
    responses = await asyncio.gather(
        *(caller.notify(event(operationId=name), card_id=f"card-{place % 7}") for place, name in enumerate(names))
    )
    assert [response.status for response in responses] == [204] * 200
    one, two = await asyncio.gather(stored(caller.running), stored(caller.running))
    assert one == two
    held = [each.three_ds_operation.operation_id for each in one]
    assert held == _on_disk(caller)
    assert sorted(held) == sorted(names)
    sequences = [int(each.cursor.partition("-")[2]) for each in one]
    assert sequences == sorted(set(sequences))


async def test_while_the_storage_is_busy_d1_gets_a_retry_after(caller: EdgeCaller) -> None:
    with closing(sqlite3.connect(caller.running.event_log, isolation_level=None)) as other, capture_logs() as logged:
        other.execute("BEGIN EXCLUSIVE")
        began = time.perf_counter()
        responses = await asyncio.gather(*(caller.notify(event(operationId=f"op_{number}")) for number in range(5)))
        assert time.perf_counter() - began < 8.0
        assert {response.error(503) for response in responses} == {"EVENT_LOG_UNAVAILABLE"}
        assert {response.headers["retry-after"] for response in responses} == {"1"}
        assert _on_disk(caller) == []
    refused = [entry for entry in logged if entry["event"] == "callback_rejected"]
    assert [entry["status"] for entry in refused] == [503] * 5
    assert all(entry["cause"].startswith("The event log's storage failed (") for entry in refused), "the log says why"
    assert (await caller.notify(event(operationId="op_1"))).status == 204
    assert _on_disk(caller) == ["op_1"]


async def test_what_was_stored_before_a_restart_is_still_a_duplicate_after_it(caller: EdgeCaller) -> None:
    assert (await caller.notify()).status == 204
    await caller.notify(event(operationId="op_2"))
    held = await stored(caller.running)
    folder = caller.running.event_log.parent / "copy"
    folder.mkdir()
    with (
        closing(sqlite3.connect(caller.running.event_log)) as database,
        closing(sqlite3.connect(folder / "d1-gateway.db")) as copy,
    ):
        database.backup(copy)
    sandbox = caller.running.sandbox
    async with running_gateway(sandbox, settings_for(sandbox, folder)) as restored:
        again = EdgeCaller(restored, caller.session)
        assert (await again.notify()).status == 204
        assert await stored(restored) == held


async def test_the_correlation_id_is_kept_where_it_is_one(caller: EdgeCaller) -> None:
    for number, given in enumerate(("from-d1_42", "no id!", "x" * 65)):
        headers = {"x-correlation-id": given}
        assert (await caller.notify(event(operationId=f"op_{number}"), **headers)).status == 204
    taken = [each.correlation_id for each in await stored(caller.running)]
    assert taken[0] == "from-d1_42"
    assert all(len(made) == 32 and made.isalnum() for made in taken[1:])
