"""D1's history of 3DS operations."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.d1.model.notification import Notification, new_details
from tests.integration.sandbox.sandbox_caller import Caller

OPERATIONS = "v1/issuers/{issuer}/cards/{card}/3ds/operations"
YEAR = timedelta(days=365)


@pytest.fixture
async def holder(caller: Caller) -> Caller:
    """A client with a registered card."""
    await caller.register()
    return caller


def add(caller: Caller, *operation_ids: str, age: timedelta = timedelta(0)) -> None:
    """Add operations to D1's history, each a second younger than the one before."""
    start = datetime.fromtimestamp(caller.clock.now, UTC) - age
    for place, operation_id in enumerate(operation_ids):
        time = start + timedelta(seconds=place)
        caller.sandbox.history.add(Notification(caller.card_id, operation_id, time, details=new_details()))


async def listed(caller: Caller) -> list[str]:
    return [operation["operationId"] for operation in (await caller.call("GET", OPERATIONS)).json["operations"]]


async def test_operations_are_listed_newest_first_for_a_year(holder: Caller) -> None:
    add(holder, "op-gone", age=YEAR + timedelta(seconds=1))
    add(holder, "op-kept", age=YEAR)
    add(holder, "op-2", age=timedelta(hours=1))
    add(holder, "op-3")
    add(holder, "op-4")
    await holder.operate("delete", reasonCode="CLOSED_CARD")

    assert await listed(holder) == ["op-4", "op-3", "op-2", "op-kept"]
    assert (await holder.call("GET", f"{OPERATIONS}/op-gone")).status == 404


@pytest.mark.parametrize(
    ("query", "expected", "remaining"),
    [
        ("", range(59, 49, -1), 50),
        ("?limit=50", range(59, 9, -1), 10),
        ("?offset=55&limit=4", range(4, 0, -1), 1),
        ("?offset=55", range(4, -1, -1), 0),
        ("?offset=60", [], 0),
        ("?offset=999999999", [], 0),
    ],
)
async def test_a_page_is_cut_and_tells_how_many_remain(
    holder: Caller, query: str, expected: range | list[int], remaining: int
) -> None:
    add(holder, *(f"op-{place}" for place in range(60)))

    response = (await holder.call("GET", OPERATIONS + query)).json

    assert [operation["operationId"] for operation in response["operations"]] == [f"op-{place}" for place in expected]
    assert response["remainingOperations"] == remaining


@pytest.mark.parametrize(
    ("path", "headers", "status", "error"),
    [
        *((f"{OPERATIONS}?limit={limit}", {}, 400, "limit") for limit in ("0", "51", "x", "")),
        *((f"{OPERATIONS}?offset={offset}", {}, 400, "offset") for offset in ("-1", "1.5", "²")),
        (f"{OPERATIONS}/op.1", {}, 400, "operationId"),
        (OPERATIONS, {"x-correlation-id": "a/b"}, 400, "x-correlation-id"),
        (OPERATIONS.replace("{card}", "card-9"), {}, 404, "Card does not exist"),
        (OPERATIONS.replace("{card}", "card-9") + "/op-1", {}, 404, "Card does not exist"),
        (f"{OPERATIONS}/op-9", {}, 404, "Operation does not exist"),
        (OPERATIONS.replace("{issuer}", "ISSUER0002"), {}, 404, "Issuer does not exist"),
    ],
)
async def test_a_wrong_call_is_refused_in_the_shape_of_version_1(
    holder: Caller, path: str, headers: dict[str, Any], status: int, error: str
) -> None:
    add(holder, "op-1")

    response = await holder.call("GET", path, **headers)

    assert (response.status, response.json) == (status, {"error": error})
    assert (await holder.call("GET", f"{OPERATIONS}/op-1", **{"x-correlation-id": "a b.c"})).status == 200
