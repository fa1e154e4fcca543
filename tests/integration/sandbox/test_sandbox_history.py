from datetime import UTC, datetime, timedelta

import pytest

from sandbox.d1.model.notification import Notification, new_details
from tests.integration.sandbox.sandbox_caller import Caller, Response

YEAR = timedelta(days=365)


@pytest.fixture
async def holder(caller: Caller) -> Caller:
    """A client with a registered card."""
    await caller.register("card-1")
    return caller


def add(caller: Caller, *operation_ids: str, age: timedelta = timedelta(0)) -> None:
    """Add operations to D1's history, each a second younger than the one before."""
    start = datetime.fromtimestamp(caller.clock.now, UTC) - age
    for place, operation_id in enumerate(operation_ids):
        caller.sandbox.history.add(
            Notification("card-1", operation_id, start + timedelta(seconds=place), details=new_details())
        )


async def listed(caller: Caller, query: str = "", card_id: str = "card-1") -> Response:
    return await caller.request("GET", f"v1/issuers/{{issuer}}/cards/{card_id}/3ds/operations{query}")


def ids(response: Response) -> list[str]:
    return [operation["operationId"] for operation in response.json["operations"]]


async def test_a_card_without_operations_has_an_empty_list(holder: Caller) -> None:
    response = await listed(holder)

    assert (response.status, response.json) == (200, {"operations": [], "remainingOperations": 0})


async def test_operations_are_listed_newest_first(holder: Caller) -> None:
    add(holder, "op-new", age=timedelta(hours=1))
    add(holder, "op-old", age=timedelta(hours=2))
    add(holder, "op-newest")

    assert ids(await listed(holder)) == ["op-newest", "op-new", "op-old"]


async def test_the_last_of_operations_of_one_time_is_the_newest(holder: Caller) -> None:
    add(holder, "op-1")
    add(holder, "op-2")

    assert ids(await listed(holder)) == ["op-2", "op-1"]


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

    response = await listed(holder, query)

    assert ids(response) == [f"op-{place}" for place in expected]
    assert response.json["remainingOperations"] == remaining


@pytest.mark.parametrize("query", ["limit=0", "limit=51", "limit=x", "limit=", "offset=-1", "offset=1.5", "offset=²"])
async def test_a_wrong_page_is_refused_in_the_shape_of_version_1(holder: Caller, query: str) -> None:
    response = await listed(holder, f"?{query}")

    assert (response.status, response.json) == (400, {"error": query.partition("=")[0]})


async def test_operations_older_than_a_year_are_gone(holder: Caller) -> None:
    add(holder, "op-gone", age=YEAR + timedelta(seconds=1))
    add(holder, "op-kept", age=YEAR)

    assert ids(await listed(holder)) == ["op-kept"]
    gone = await holder.request("GET", "v1/issuers/{issuer}/cards/card-1/3ds/operations/op-gone")
    assert gone.status == 404


async def test_one_operation_is_got_as_it_is_notified(holder: Caller) -> None:
    add(holder, "op-1", "op-2")

    response = await holder.request("GET", "v1/issuers/{issuer}/cards/card-1/3ds/operations/op-1")

    assert response.status == 200
    assert response.json == holder.sandbox.history.of("card-1")[1].body()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("cards/card-2/3ds/operations", "Card does not exist"),
        ("cards/card-2/3ds/operations/op-1", "Card does not exist"),
        ("cards/card-1/3ds/operations/op-9", "Operation does not exist"),
    ],
)
async def test_an_unknown_operation_gets_a_404_in_the_shape_of_version_1(holder: Caller, path: str, error: str) -> None:
    add(holder, "op-1")

    response = await holder.request("GET", f"v1/issuers/{{issuer}}/{path}")

    assert (response.status, response.json) == (404, {"error": error})


async def test_another_issuers_history_is_not_known(holder: Caller) -> None:
    response = await holder.request("GET", "v1/issuers/ISSUER0002/cards/card-1/3ds/operations")

    assert (response.status, response.json) == (404, {"error": "Issuer does not exist"})


async def test_ids_and_headers_are_checked(holder: Caller) -> None:
    path = "v1/issuers/{issuer}/cards/card-1/3ds/operations"

    assert (await holder.request("GET", f"{path}/op.1")).json == {"error": "operationId"}
    assert (await holder.request("GET", path, **{"x-correlation-id": "a b.c"})).status == 200
    assert (await holder.request("GET", path, **{"x-correlation-id": "a/b"})).json == {"error": "x-correlation-id"}


async def test_the_history_is_not_shown_without_a_token(stranger: Caller) -> None:
    response = await listed(stranger)

    assert (response.status, response.json) == (401, {"error": "AUTHORIZER_UNAUTHORIZED"})


async def test_the_history_of_a_deleted_card_stays(holder: Caller) -> None:
    add(holder, "op-1")
    await holder.operate("delete", "card-1", reasonCode="CLOSED_CARD")

    assert ids(await listed(holder)) == ["op-1"]
