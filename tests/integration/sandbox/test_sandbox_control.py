"""The control API: what it shows and does, and the input that it refuses."""

from typing import Any

import aiohttp
import pytest

from sandbox.common.ports import free_ports
from sandbox.d1.acs.purchase import Flow
from tests.integration.sandbox.sandbox_caller import Caller, jwk
from tests.integration.sandbox.sandbox_edge import Edge, EdgeServer, buy

pytestmark = pytest.mark.usefixtures("edge")


async def test_every_endpoint_on_the_front_page_is_there_and_shows_what_happened(caller: Caller) -> None:
    buy(caller.sandbox, caller.name, Flow.FRICTIONLESS)
    purchase = buy(caller.sandbox, caller.name, Flow.SMS_OTP)
    await purchase.awaiting()

    page = (await caller.control("GET", "../")).json
    shown = {}
    for endpoint in page["endpoints"]:
        method, path = endpoint.replace("{", "").replace("}", "").split()
        shown[endpoint] = await caller.control(method, path.removeprefix("/sandbox/"))
        # No resource has these ids, but the path is known.
        assert shown[endpoint].status not in {405, 500}
        assert "Not Found" not in shown[endpoint].text
    caller.sandbox.faults.clear()

    assert (page["d1"], page["threeds"]) == (caller.sandbox.d1_url, caller.sandbox.threeds_url)
    assert {"registerCard", "postauth"} <= set(page["operations"])
    assert {"deliverOtp", "notify3dsOperation"} <= set(page["callbacks"])
    assert {"handler.*", "handler.authenticate"} <= set(page["answers"])
    assert purchase.purchase_id in shown["GET /sandbox/purchases"].text
    assert caller.card_id in shown["GET /sandbox/cards"].text
    assert purchase.card.details.credentials is not None
    assert purchase.card.details.credentials.pan not in "".join(response.text for response in shown.values())


@pytest.mark.parametrize(("flow", "action"), [("sms-otp", "otp"), ("oob", "approve"), ("oob", "deny")])
async def test_a_consumer_acts_once_through_the_control_api(caller: Caller, flow: str, action: str) -> None:
    await caller.register()
    app = {"consumerId": caller.consumer_id, "appInstanceId": caller.name}
    enrolled = [(await caller.control("POST", "authenticators", app)).status for _ in range(2)]
    started = await caller.control("POST", "purchases", {"cardId": caller.card_id, "flow": flow, "currency": "840"})
    path = f"purchases/{started.json['purchaseId']}"
    waiting = (await caller.control("GET", f"{path}?wait_ms=10000")).json
    messages = (await caller.control("GET", f"sms?purchaseId={started.json['purchaseId']}")).json["messages"]
    body = {"otp": messages[0]["otp"]} if messages else None

    acted = [(await caller.control("POST", f"{path}/{action}", body)).status for _ in range(2)]
    ended = (await caller.control("GET", f"{path}?wait_ms=10000")).json
    deleted = [(await caller.control("DELETE", f"authenticators/{caller.name}")).status for _ in range(2)]

    assert [started.status, *enrolled, *acted, *deleted] == [201, 201, 403, 200, 409, 204, 404]
    assert (waiting["status"], waiting["currency"]) == ("AWAITS_OTP" if messages else "AWAITS_DECISION", "USD")
    assert ended["status"] == ("FAILED" if action == "deny" else "SUCCESSFUL")
    assert ended["notification"] == {"status": 204, "error": None}


async def test_notifications_are_ordered_and_their_statuses_shown(caller: Caller, edge: Edge) -> None:
    order = {"cardId": caller.card_id, "operation": "3DS_FRICTIONLESS", "details": {"eci": "05"}, "count": 2}

    sent = (await caller.control("POST", "notifications", order)).json["sent"]

    assert [(each["operationId"], each["status"]) for each in sent] == [
        (call.body["operationId"], 204) for call in edge.notifications
    ]
    assert [call.body["details"]["eci"] for call in edge.notifications] == ["05", "05"]


async def test_a_fault_is_ordered_and_cleared(caller: Caller) -> None:
    fault = {"operation": "getToken", "times": 2, "status": 503, "headers": {"Retry-After": "1"}, "body": {"a": "x"}}

    ordered = await caller.control("POST", "faults", fault)
    faulty = await caller.get_token()
    cleared = await caller.control("DELETE", "faults")

    assert (faulty.status, faulty.text) == (503, '{"a":"x"}')
    assert [ordered.status, cleared.status, (await caller.get_token()).status] == [204, 204, 200]


async def test_callbacks_about_consumers_begin_where_they_are_told_to(caller: Caller) -> None:
    edge = caller.sandbox.edge
    try:
        assert (await caller.control("POST", "banking-path", {"path": "/banking/v1"})).status == 204
        assert edge.banking_path == "/banking/v1"
    finally:
        edge.banking_path = "/banking/d1/v1"


async def test_d1_calls_the_gateway_that_it_is_told_to_and_another_one_while_that_is_down(
    caller: Caller, edge_server: EdgeServer
) -> None:
    down = f"https://127.0.0.1:{free_ports(1)[0]}"
    try:
        assert (await caller.control("POST", "edge", {"url": down, "other": edge_server.url})).status == 204
        assert (await caller.control("POST", "notifications", {"cardId": "c"})).status == 200
        assert (await caller.control("POST", "edge", {"url": down})).status == 204
        assert (await caller.control("POST", "notifications", {"cardId": "c"})).status == 502
    finally:
        caller.sandbox.set_edge(edge_server.url)


async def test_nothing_of_the_control_api_is_on_the_port_of_d1(caller: Caller) -> None:
    for path in ("/", "/sandbox/cards"):
        assert (await caller.send("GET", path, headers=caller.headers())).status == 404


NOTIFICATION = {"cardId": "c"}
PURCHASE = {"cardId": "c", "flow": "frictionless"}
P256, P384 = (
    jwk.JWK.generate(kty="EC", crv=curve, kid="control").export_public(as_dict=True) for curve in ("P-256", "P-384")
)


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("faults", "operation", {"operation": "none"}),
        ("faults", "times", {"times": 0}),
        ("faults", "X", {"headers": {"X": "a\r\nb"}}),
        ("faults", "drop", {"drop": "during"}),
        ("faults", "drop", {"operation": "registerCard", "drop": "for_good"}),
        ("faults", "drop", {"operation": "handler.*", "drop": "for_good"}),
        ("faults", "for_ms", {"for_ms": 0}),
        ("faults", "for_ms", {"for_ms": 1000, "times": 2}),
        ("faults", "truncate", {"operation": "handler.*", "truncate": True}),
        ("faults", "html", {"operation": "callback.*", "html": True}),
        ("faults", "body", {"operation": "handler.*", "body": "x"}),
        ("faults", "status", {"operation": "handler.deliver_otp", "status": 503}),
        ("consumers", "consumerId", {"consumerId": "a b"}),
        *(("banking-path", "path", {"path": path}) for path in ("", "/", "banking", "/a/", "/../a")),
        *(("edge", "url", {"url": url}) for url in ("", "http://h:1", "https://h", "https://u:p@h:1", "https://h:1/x")),
        ("edge", "other", {"url": "https://h:1", "other": "h:1"}),
        ("notifications", "variant", NOTIFICATION | {"variant": "none"}),
        ("notifications", "details", NOTIFICATION | {"details": []}),
        ("notifications", "body", []),
        ("purchases", "flow", PURCHASE | {"flow": "sms"}),
        ("purchases", "currency", PURCHASE | {"currency": "XXX"}),
        ("authenticators", "appInstanceId", {"consumerId": "c", "appInstanceId": "a/b"}),
        ("keys/assertion", "kid", P256 | {"kid": None}),
        ("keys/assertion", "kty", P256 | {"kty": "RSA"}),
        ("keys/assertion", "crv", P384),
        ("keys/assertion", "JWK", P256 | {"x": 5}),
        ("keys/assertion", "JWK", P256 | {"x": "AAAA"}),
        ("keys/assertion", "d", P256 | {"d": "AAAA"}),
    ],
)
async def test_bad_input_gets_a_400_with_the_name_of_the_field(
    caller: Caller, path: str, field: str, body: Any
) -> None:
    response = await caller.control("POST", path, body)

    assert (response.status, response.json["error"].partition(" is ")[0]) == (400, field)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "localhost:http"}, 200),
        ({"Host": "sandbox.example"}, 403),
        ({"Host": "localhost@sandbox.example"}, 403),
        ({"Origin": "https://sandbox.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_a_page_of_another_site_can_change_nothing(caller: Caller, headers: dict[str, str], status: int) -> None:
    own = {} if headers else {"Origin": caller.sandbox.control_url}
    async with aiohttp.ClientSession(caller.sandbox.control_url, headers={**headers, **own}) as session:
        for method, path in (("POST", "/sandbox/handler"), ("GET", "/"), ("GET", "/console/feed")):
            async with session.request(method, path) as response:
                assert response.status == status
