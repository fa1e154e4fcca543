import asyncio
from typing import Any

import pytest

from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import Edge, Reply
from tests.integration.sandbox.sandbox_operator import Operator

ORDER = {"cardId": "card-1", "flow": "frictionless"}


@pytest.fixture
async def shopper(operator: Operator, caller: Caller, edge: Edge) -> Operator:
    """A client of the control API of a D1 with an edge and a card."""
    assert edge.url
    await caller.register("card-1")
    return operator


async def start(shopper: Operator, flow: str, **changes: Any) -> str:
    """Start a purchase, wait until it rests, and return its path."""
    response = await shopper.send("POST", "/sandbox/purchases", ORDER | {"flow": flow} | changes)
    assert response.status == 201
    path = f"/sandbox/purchases/{response.json['purchaseId']}"
    await shopper.send("GET", f"{path}?wait_ms=10000")
    return path


async def rest(shopper: Operator, path: str) -> Any:
    return (await shopper.send("GET", f"{path}?wait_ms=10000")).json


async def test_a_purchase_is_started_at_once_and_shown_when_it_rests(shopper: Operator, edge: Edge) -> None:
    edge.replies["otp"] = [Reply(204, delay_seconds=0.2)]
    order = ORDER | {"flow": "sms-otp-issuer", "amount": 4200, "currency": "840", "merchant": "Books"}

    started = await shopper.send("POST", "/sandbox/purchases", order)
    path = f"/sandbox/purchases/{started.json['purchaseId']}"
    running = await shopper.send("GET", path)
    resting = await rest(shopper, path)

    assert (started.status, started.json["status"], running.json["status"]) == (201, "RUNNING", "RUNNING")
    (call,) = resting.pop("calls")
    assert (call["name"], call["status"], call["problem"]) == ("deliverOtp", 204, None)
    assert call["milliseconds"] >= 200
    assert resting == {
        "purchaseId": started.json["purchaseId"],
        "operationId": started.json["operationId"],
        "status": "AWAITS_OTP",
        "error": None,
        "cardId": "card-1",
        "consumerId": "consumer-1",
        "flow": "sms-otp-issuer",
        "amount": 4200,
        "currency": "USD",
        "merchant": "Books",
        "otpAttemptsLeft": 3,
        "failedChecks": [],
        "notification": None,
    }


async def test_an_otp_is_read_on_the_phone_and_typed_in(shopper: Operator) -> None:
    path = await start(shopper, "sms-otp", byCard=True)
    purchase_id = path.rpartition("/")[2]
    (message,) = (await shopper.send("GET", f"/sandbox/sms?purchaseId={purchase_id}")).json["messages"]

    typed = [(await shopper.send("POST", f"{path}/otp", {"otp": otp})).json for otp in ("none", message["otp"])]

    assert [each["right"] for each in typed] == [False, True]
    assert typed[0]["otpAttemptsLeft"] == 2
    assert message["phone"] == "+962790000000"
    assert message["otp"] in message["text"]
    ended = await rest(shopper, path)
    assert (ended["status"], ended["notification"]) == ("SUCCESSFUL", {"status": 204, "error": None})
    assert (await shopper.send("GET", "/sandbox/sms?purchaseId=none")).json == {"messages": []}


async def test_another_otp_can_be_requested(shopper: Operator, edge: Edge) -> None:
    path = await start(shopper, "sms-otp-issuer")
    first = edge.otp()

    resent = await shopper.send("POST", f"{path}/resend")
    await rest(shopper, path)

    assert (resent.status, resent.json["status"]) == (200, "RUNNING")
    assert edge.kinds() == ["otp", "otp"]
    if edge.otp() != first:
        assert not (await shopper.send("POST", f"{path}/otp", {"otp": first})).json["right"]
    assert (await shopper.send("POST", f"{path}/otp", {"otp": edge.otp()})).json["right"]


@pytest.mark.parametrize(("decision", "status"), [("approve", "SUCCESSFUL"), ("deny", "FAILED")])
async def test_a_consumer_decides_with_an_authenticator(shopper: Operator, decision: str, status: str) -> None:
    enrolled = await shopper.send("POST", "/sandbox/authenticators", {"consumerId": "consumer-1"})
    path = await start(shopper, "oob")

    decided = await shopper.send("POST", f"{path}/{decision}")

    assert (enrolled.status, decided.status) == (201, 200)
    assert (await rest(shopper, path))["status"] == status


async def test_the_issuers_result_is_polled_as_often_as_requested(shopper: Operator, edge: Edge) -> None:
    edge.replies["result"] = [Reply(body={"status": "PENDING"})]

    path = await start(shopper, "oob-issuer", poll_interval_ms=20, poll_limit_ms=200)

    shown = await rest(shopper, path)
    assert (shown["status"], shown["error"]) == ("FAILED", "The issuer had no result in time")
    assert len(shown["calls"]) >= 3


async def test_failed_checks_are_shown(shopper: Operator, edge: Edge) -> None:
    edge.replies["information"] = [Reply(body={"language": "english"})]

    shown = await rest(shopper, await start(shopper, "sms-otp"))

    assert shown["failedChecks"] == ["language is missing or wrong in the reply to getConsumerInformation"]
    assert shown["calls"][0]["problem"] == shown["error"] == shown["failedChecks"][0]


async def test_purchases_are_listed(shopper: Operator) -> None:
    paths = [await start(shopper, "frictionless") for _ in range(2)]

    listed = (await shopper.send("GET", "/sandbox/purchases")).json["purchases"]

    assert [f"/sandbox/purchases/{each['purchaseId']}" for each in listed] == paths


async def test_a_wait_ends_though_the_purchase_does_not_rest(shopper: Operator, edge: Edge) -> None:
    edge.replies["otp"] = [Reply(204, delay_seconds=3)]
    started = await shopper.send("POST", "/sandbox/purchases", ORDER | {"flow": "sms-otp-issuer"})

    shown = await shopper.send("GET", f"/sandbox/purchases/{started.json['purchaseId']}?wait_ms=50")

    assert shown.json["status"] == "RUNNING"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("cardId", {"cardId": None}),
        ("cardId", {"cardId": "a/b"}),
        ("flow", {"flow": None}),
        ("flow", {"flow": "sms"}),
        ("amount", {"amount": 0}),
        ("amount", {"amount": "19.99"}),
        ("currency", {"currency": "XXX"}),
        ("currency", {"currency": 978}),
        ("merchant", {"merchant": ""}),
        ("merchant", {"merchant": "a" * 41}),
        ("byCard", {"byCard": 1}),
        ("otp_life_ms", {"otp_life_ms": 0}),
        ("decision_ms", {"decision_ms": "1"}),
        ("poll_interval_ms", {"poll_interval_ms": -1}),
        ("poll_limit_ms", {"poll_limit_ms": 3_600_001}),
    ],
)
async def test_a_wrong_order_gets_a_400_with_the_name_of_the_field(
    shopper: Operator, field: str, changes: dict[str, Any]
) -> None:
    response = await shopper.send("POST", "/sandbox/purchases", ORDER | changes)

    assert response.status == 400
    assert response.json["error"].startswith(f"{field} is ")
    assert (await shopper.send("GET", "/sandbox/purchases")).json == {"purchases": []}


async def test_an_impossible_purchase_gets_a_404_or_409(shopper: Operator, caller: Caller) -> None:
    unknown = await shopper.send("POST", "/sandbox/purchases", ORDER | {"cardId": "card-2"})
    without = await shopper.send("POST", "/sandbox/purchases", ORDER | {"flow": "oob"})
    await caller.operate("suspend", "card-1", reasonCode="FRAUD")
    suspended = await shopper.send("POST", "/sandbox/purchases", ORDER)

    assert (unknown.status, unknown.json) == (404, {"error": "Card does not exist"})
    assert (without.status, without.json) == (409, {"error": "the consumer has not enrolled an authenticator"})
    assert (suspended.status, suspended.json) == (409, {"error": "the card is not active"})


async def test_an_unexpected_action_gets_a_409(shopper: Operator) -> None:
    path = await start(shopper, "frictionless")

    for action in ("otp", "resend", "approve", "deny"):
        response = await shopper.send("POST", f"{path}/{action}", {"otp": "123456"})
        assert (response.status, response.json["error"]) == (
            409,
            "the purchase does not wait for this action",
        )


@pytest.mark.parametrize("action", ["", "/otp", "/resend", "/approve", "/deny"])
async def test_an_unknown_purchase_gets_a_404(shopper: Operator, action: str) -> None:
    response = await shopper.send("POST" if action else "GET", f"/sandbox/purchases/none{action}", {"otp": "123456"})

    assert (response.status, response.json) == (404, {"error": "no such purchase"})


async def test_an_otp_and_a_wait_have_their_form(shopper: Operator) -> None:
    path = await start(shopper, "sms-otp")

    assert (await shopper.send("POST", f"{path}/otp", {})).json["error"].startswith("otp is ")
    for wait in ("x", "-1", "60001", "9" * 5000):
        assert (await shopper.send("GET", f"{path}?wait_ms={wait}")).json["error"].startswith("wait_ms is ")


async def test_authenticators_are_enrolled_listed_and_deleted(shopper: Operator, edge: Edge) -> None:
    body = {"consumerId": "consumer-1", "appInstanceId": "app-1"}
    enrolled = await shopper.send("POST", "/sandbox/authenticators", body)
    again = await shopper.send("POST", "/sandbox/authenticators", body)
    listed = await shopper.send("GET", "/sandbox/authenticators")
    deleted = [await shopper.send("DELETE", "/sandbox/authenticators/app-1") for _ in range(2)]
    while len(edge.received) < 2:  # noqa: ASYNC110 - the edge sends no event
        await asyncio.sleep(0.01)

    assert (enrolled.json, again.status) == ({"appInstanceId": "app-1"}, 403)
    assert listed.json == {"authenticators": [{"appInstanceId": "app-1", "consumerId": "consumer-1"}]}
    assert [response.status for response in deleted] == [204, 404]
    assert {received.body["operation"] for received in edge.received} == {"ENROLL_AUTHN", "DELETE_AUTHN"}


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"consumerId": "c", "appInstanceId": "a/b"}, 400), ({"consumerId": "nobody"}, 404)],
)
async def test_a_wrong_enrolment_is_refused(shopper: Operator, body: dict[str, str], status: int) -> None:
    assert (await shopper.send("POST", "/sandbox/authenticators", body)).status == status


async def test_fetched_card_data_and_failures_in_the_background_are_shown(
    shopper: Operator, caller: Caller, edge: Edge
) -> None:
    edge.replies["credentials"] = [Reply(body={"encryptedData": caller.encrypted(exp="1230")})]
    await caller.operate("renew", "card-1")

    async def awaits_credentials() -> bool:
        (card,) = (await shopper.send("GET", "/sandbox/cards")).json["cards"]
        return bool(card["awaitsCredentials"])

    while await awaits_credentials():  # noqa: ASYNC110 - the API sends no event
        await asyncio.sleep(0.02)
    assert (await shopper.send("GET", "/sandbox/errors")).json == {"errors": []}
