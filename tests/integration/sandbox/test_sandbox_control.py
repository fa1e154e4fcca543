import asyncio
from typing import Any

import aiohttp
import pytest

from sandbox import Sandbox
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import Edge
from tests.integration.sandbox.sandbox_operator import Operator


async def test_the_front_page_lists_what_there_is(sandbox: Sandbox, operator: Operator) -> None:
    response = await operator.send("GET", "/")

    assert response.json["d1"] == sandbox.d1_url
    assert "POST /sandbox/faults" in response.json["endpoints"]
    assert "registerCard" in response.json["operations"]


async def test_every_endpoint_on_the_front_page_is_there(operator: Operator) -> None:
    for endpoint in (await operator.send("GET", "/")).json["endpoints"]:
        method, path = endpoint.split()
        response = await operator.send(method, path.replace("{", "").replace("}", ""))
        # No resource has these ids, but the path is known.
        assert response.status not in {405, 500}
        assert "Not Found" not in response.text


async def test_nothing_of_the_control_api_is_on_the_port_of_d1(caller: Caller) -> None:
    for path in ("/", "/sandbox/cards"):
        assert (await caller.send("GET", path, headers=caller.headers())).status == 404


async def test_a_fault_is_ordered_and_happens(operator: Operator, caller: Caller) -> None:
    body = {
        "operation": "registerCard",
        "times": 2,
        "status": 503,
        "headers": {"Retry-After": "1"},
        "body": {"error": "x"},
    }

    ordered = await operator.send("POST", "/sandbox/faults", body)
    response = await caller.register("card-1")

    assert ordered.status == 204
    assert (response.status, response.json) == (503, {"error": "x"})


@pytest.mark.parametrize("fault", [{"drop": "before"}, {"drop": "after"}, {"truncate": True}])
async def test_a_broken_connection_is_ordered_and_happens(
    operator: Operator, caller: Caller, fault: dict[str, Any]
) -> None:
    await operator.send("POST", "/sandbox/faults", fault)

    with pytest.raises(aiohttp.ClientError):
        await caller.get_token()


async def test_a_page_of_html_is_ordered_and_happens(operator: Operator, caller: Caller) -> None:
    await operator.send("POST", "/sandbox/faults", {"html": True, "latency_ms": 1, "body": "<p>Sorry</p>"})

    response = await caller.register("card-1")

    assert (response.status, response.text) == (502, "<p>Sorry</p>")


async def test_ordered_faults_are_cleared(operator: Operator, caller: Caller) -> None:
    await operator.send("POST", "/sandbox/faults", {"status": 500, "times": 9})

    cleared = await operator.send("DELETE", "/sandbox/faults")

    assert cleared.status == 204
    assert (await caller.register("card-1")).status == 204


async def test_cards_are_listed_as_they_stand(operator: Operator, caller: Caller) -> None:
    await caller.register("card-1")
    await caller.operate("suspend", "card-1", reasonCode="FRAUD")

    response = await operator.send("GET", "/sandbox/cards")

    assert response.json == {
        "cards": [
            {
                "cardId": "card-1",
                "consumerId": "consumer-1",
                "cardProductId": "light",
                "state": "SUSPENDED",
                "suspendedFor": "FRAUD",
                "createdByD1": False,
                "awaitsCredentials": False,
            }
        ]
    }


async def test_a_consumer_is_added(operator: Operator, caller: Caller) -> None:
    added = await operator.send("POST", "/sandbox/consumers", {"consumerId": "consumer-1"})

    assert added.status == 204
    assert (await caller.create()).status == 201


async def test_tokens_are_made_to_expire(operator: Operator, caller: Caller) -> None:
    expired = await operator.send("POST", "/sandbox/tokens/expire")

    assert expired.status == 204
    assert (await caller.register("card-1")).status == 401


async def test_a_notification_is_sent_and_its_status_shown(operator: Operator, edge: Edge) -> None:
    body = {"cardId": "card-1", "operationId": "op-1", "operation": "3DS_FRICTIONLESS", "details": {"eci": "05"}}

    response = await operator.send("POST", "/sandbox/notifications", body)

    assert response.json == {"sent": [{"operationId": "op-1", "status": 204}]}
    assert edge.received[0].body["operation"] == "3DS_FRICTIONLESS"
    assert edge.received[0].body["details"]["eci"] == "05"


@pytest.mark.parametrize(
    ("variant", "sent", "operations"),
    [
        ("plain", 1, 1),
        ("duplicate", 2, 1),
        ("late", 1, 1),
        ("out_of_order", 2, 2),
        ("unknown_fields", 1, 1),
        ("unknown_values", 1, 1),
    ],
)
async def test_every_variant_of_a_notification_can_be_requested(
    operator: Operator, edge: Edge, variant: str, sent: int, operations: int
) -> None:
    response = await operator.send("POST", "/sandbox/notifications", {"cardId": "card-1", "variant": variant})

    assert response.status == 200
    assert len(edge.received) == len(response.json["sent"]) == sent
    assert len({received.body["operationId"] for received in edge.received}) == operations


async def test_a_notification_is_sent_after_the_requested_delay(operator: Operator, edge: Edge) -> None:
    body = {"cardId": "card-1", "delay_ms": 300}
    sending = asyncio.create_task(operator.send("POST", "/sandbox/notifications", body))
    await asyncio.sleep(0.1)
    before = len(edge.received)

    assert (await sending).status == 200
    assert (before, len(edge.received)) == (0, 1)


async def test_a_notification_without_an_edge_gets_a_502(operator: Operator) -> None:
    response = await operator.send("POST", "/sandbox/notifications", {"cardId": "card-1"})

    assert (response.status, response.json) == (502, {"error": "No edge is set"})


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("faults", "operation", {"operation": "none"}),
        ("faults", "operation", {"operation": 1}),
        ("faults", "times", {"times": 0}),
        ("faults", "times", {"times": "2"}),
        ("faults", "latency_ms", {"latency_ms": -1}),
        ("faults", "latency_ms", {"latency_ms": True}),
        ("faults", "status", {"status": 99}),
        ("faults", "headers", {"headers": []}),
        ("faults", "headers", {"headers": {"a b": "c"}}),
        ("faults", "X", {"headers": {"X": "a\r\nb"}}),
        ("faults", "html", {"html": "yes"}),
        ("faults", "drop", {"drop": "during"}),
        ("faults", "truncate", {"truncate": 1}),
        ("consumers", "consumerId", {}),
        ("consumers", "consumerId", {"consumerId": "a b"}),
        ("notifications", "cardId", {}),
        ("notifications", "cardId", {"cardId": "../x"}),
        ("notifications", "variant", {"cardId": "c", "variant": "none"}),
        ("notifications", "count", {"cardId": "c", "count": 0}),
        ("notifications", "delay_ms", {"cardId": "c", "delay_ms": 60_001}),
        ("notifications", "operationId", {"cardId": "c", "operationId": "a b"}),
        ("notifications", "consumerId", {"cardId": "c", "consumerId": ""}),
        ("notifications", "details", {"cardId": "c", "details": []}),
        ("notifications", "error", {"cardId": "c", "error": 1}),
        ("notifications", "body", []),
    ],
)
async def test_bad_input_gets_a_400_with_the_name_of_the_field(
    operator: Operator, path: str, field: str, body: Any
) -> None:
    response = await operator.send("POST", f"/sandbox/{path}", body)

    assert response.status == 400
    assert response.json["error"].startswith(f"{field} is ")


async def test_an_unknown_path_gets_a_404(operator: Operator) -> None:
    assert (await operator.send("GET", "/sandbox/none")).json == {"error": "Not Found"}
