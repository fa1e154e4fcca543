"""The control API: what it shows and does, and the input that it refuses."""

import asyncio
from typing import Any

import pytest
from jwcrypto import jwk  # type: ignore[import-untyped] # ships no types

from tests.integration.sandbox.sandbox_caller import Caller, Response
from tests.integration.sandbox.sandbox_edge import Edge, Reply, until


@pytest.fixture
async def shopper(caller: Caller, edge: Edge) -> Caller:
    """A client of a D1 with an edge and a card."""
    edge.replies["credentials"] = [Reply(body={"encryptedData": caller.encrypted(exp="1230")})]
    await caller.register()
    return caller


async def start(shopper: Caller, flow: str, **changes: Any) -> str:
    """Start a purchase, wait until it rests, and return its path."""
    response = await shopper.control("POST", "purchases", {"cardId": shopper.card_id, "flow": flow} | changes)
    assert response.status == 201
    path = f"purchases/{response.json['purchaseId']}"
    await rest(shopper, path)
    return path


async def rest(shopper: Caller, path: str) -> Any:
    return (await shopper.control("GET", f"{path}?wait_ms=10000")).json


async def test_the_front_page_lists_endpoints_that_there_are_on_this_port_alone(caller: Caller) -> None:
    page = (await caller.control("GET", "../")).json

    assert (page["d1"], page["threeds"]) == (caller.sandbox.d1_url, caller.sandbox.threeds_url)
    assert {"registerCard", "postauth"} <= set(page["operations"])
    assert "POST /sandbox/faults" in page["endpoints"]
    for endpoint in page["endpoints"]:
        method, path = endpoint.replace("{", "").replace("}", "").split()
        response = await caller.control(method, path.removeprefix("/sandbox/"))
        # No resource has these ids, but the path is known.
        assert response.status not in {405, 500}
        assert "Not Found" not in response.text
    caller.sandbox.faults.clear()
    assert (await caller.control("GET", "none")).json == {"error": "Not Found"}


async def test_nothing_of_the_control_api_is_on_the_port_of_d1(caller: Caller) -> None:
    for path in ("/", "/sandbox/cards"):
        assert (await caller.send("GET", path, headers=caller.headers())).status == 404


async def test_cards_are_listed_as_they_stand(shopper: Caller) -> None:
    async def shown() -> Any:
        cards = (await shopper.control("GET", "cards")).json["cards"]
        return next(card for card in cards if card["cardId"] == shopper.card_id)

    await shopper.operate("renew")
    assert (await shown())["awaitsCredentials"]
    while (await shown())["awaitsCredentials"]:  # noqa: ASYNC110 - the API sends no event
        await asyncio.sleep(0.01)
    await shopper.operate("suspend", reasonCode="FRAUD")

    assert await shown() == {
        "cardId": shopper.card_id,
        "consumerId": shopper.consumer_id,
        "cardProductId": "light",
        "state": "SUSPENDED",
        "suspendedFor": "FRAUD",
        "createdByD1": False,
        "awaitsCredentials": False,
    }


@pytest.mark.parametrize(
    ("variant", "sent", "operations"),
    [("plain", 1, 1), ("duplicate", 2, 1), ("late", 1, 1), ("out_of_order", 2, 2), ("unknown_fields", 1, 1)],
)
async def test_notifications_are_sent_as_set_and_their_statuses_shown(
    caller: Caller, edge: Edge, variant: str, sent: int, operations: int
) -> None:
    body = {"cardId": caller.card_id, "operationId": "op-1", "operation": "3DS_FRICTIONLESS", "details": {"eci": "05"}}

    response = await caller.control("POST", "notifications", body | {"variant": variant, "delay_ms": 1})

    shown = {(each["operationId"], each["status"]) for each in response.json["sent"]}
    assert len(edge.notifications) == len(response.json["sent"]) == sent
    assert {(call.body["operationId"], 204) for call in edge.notifications} == shown
    assert (len(shown), ("op-1", 204) in shown) == (operations, True)
    assert {(call.body["operation"], call.body["details"]["eci"]) for call in edge.notifications} == {
        ("3DS_FRICTIONLESS", "05")
    }


async def test_a_purchase_is_shown_while_it_runs_and_when_it_rests(shopper: Caller, edge: Edge) -> None:
    edge.replies["otp"] = [Reply(204, delay_seconds=0.2)]
    order = {"cardId": shopper.card_id, "flow": "sms-otp-issuer", "amount": 4200, "currency": "840"}

    started = await shopper.control("POST", "purchases", order | {"merchant": "Books"})
    path = f"purchases/{started.json['purchaseId']}"
    running = (await shopper.control("GET", f"{path}?wait_ms=1")).json
    resting = await rest(shopper, path)

    assert (started.status, started.json["status"], running["status"]) == (201, "RUNNING", "RUNNING")
    assert resting in (await shopper.control("GET", "purchases")).json["purchases"]
    (call,) = resting.pop("calls")
    assert (call["name"], call["status"], call["problem"]) == ("deliverOtp", 204, None)
    assert call["milliseconds"] >= 200
    assert resting == {
        "purchaseId": started.json["purchaseId"],
        "operationId": started.json["operationId"],
        "status": "AWAITS_OTP",
        "error": None,
        "cardId": shopper.card_id,
        "consumerId": shopper.consumer_id,
        "flow": "sms-otp-issuer",
        "amount": 4200,
        "currency": "USD",
        "merchant": "Books",
        "otpAttemptsLeft": 3,
        "failedChecks": [],
        "notification": None,
    }


async def test_an_otp_is_read_on_the_phone_resent_and_typed_in(shopper: Caller) -> None:
    path = await start(shopper, "sms-otp", byCard=True)
    messages = f"sms?purchaseId={path.rpartition('/')[2]}"

    resent = await shopper.control("POST", f"{path}/resend")
    await rest(shopper, path)
    _, message = (await shopper.control("GET", messages)).json["messages"]
    typed = [(await shopper.control("POST", f"{path}/otp", {"otp": otp})).json for otp in ("none", message["otp"])]

    assert (resent.status, resent.json["status"]) == (200, "RUNNING")
    assert [(each["right"], each["otpAttemptsLeft"]) for each in typed] == [(False, 2), (True, 2)]
    assert (message["phone"], message["otp"] in message["text"]) == ("+962790000000", True)
    ended = await rest(shopper, path)
    assert (ended["status"], ended["notification"]) == ("SUCCESSFUL", {"status": 204, "error": None})
    assert (await shopper.control("GET", "sms?purchaseId=none")).json == {"messages": []}


@pytest.mark.parametrize(("decision", "status"), [("approve", "SUCCESSFUL"), ("deny", "FAILED")])
async def test_a_consumer_decides_with_an_authenticator_until_it_is_deleted(
    shopper: Caller, edge: Edge, decision: str, status: str
) -> None:
    body = {"consumerId": shopper.consumer_id, "appInstanceId": shopper.name}
    without = await shopper.control("POST", "purchases", {"cardId": shopper.card_id, "flow": "oob"})
    enrolled = [await shopper.control("POST", "authenticators", body) for _ in range(2)]
    assert body in (await shopper.control("GET", "authenticators")).json["authenticators"]
    path = await start(shopper, "oob")

    decided = await shopper.control("POST", f"{path}/{decision}")
    deleted = [await shopper.control("DELETE", f"authenticators/{shopper.name}") for _ in range(2)]

    assert (without.status, without.json) == (409, {"error": "the consumer has not enrolled an authenticator"})
    assert [response.status for response in (*enrolled, decided, *deleted)] == [201, 403, 200, 204, 404]
    assert enrolled[0].json == {"appInstanceId": shopper.name}
    assert (await rest(shopper, path))["status"] == status
    await until(lambda: len(edge.notifications) == 3)


async def test_a_reply_that_breaks_the_contract_is_a_failed_check(shopper: Caller, edge: Edge) -> None:
    edge.replies["information"] = [Reply(body={"language": "english"})]

    shown = await rest(shopper, await start(shopper, "sms-otp"))

    assert shown["failedChecks"] == ["language is missing or wrong in the reply to getConsumerInformation"]
    assert shown["calls"][0]["problem"] == shown["error"] == shown["failedChecks"][0]


async def test_times_are_set_in_milliseconds(shopper: Caller, edge: Edge) -> None:
    edge.replies["result"] = [Reply(body={"status": "PENDING"})]

    shown = await rest(shopper, await start(shopper, "oob-issuer", poll_interval_ms=20, poll_limit_ms=200))

    assert (shown["status"], shown["error"]) == ("FAILED", "The issuer had no result in time")
    assert edge.kinds()[:2] == ["authentication", "result"]


NOTIFICATION = {"cardId": "c"}
PURCHASE = {"cardId": "c", "flow": "frictionless"}


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
        ("consumers", "consumerId", {"consumerId": "a b"}),
        ("notifications", "cardId", {"cardId": "../x"}),
        ("notifications", "variant", NOTIFICATION | {"variant": "none"}),
        ("notifications", "count", NOTIFICATION | {"count": 0}),
        ("notifications", "delay_ms", NOTIFICATION | {"delay_ms": 60_001}),
        ("notifications", "operationId", NOTIFICATION | {"operationId": "a b"}),
        ("notifications", "details", NOTIFICATION | {"details": []}),
        ("notifications", "body", []),
        ("purchases", "cardId", PURCHASE | {"cardId": "a/b"}),
        ("purchases", "flow", PURCHASE | {"flow": "sms"}),
        ("purchases", "amount", PURCHASE | {"amount": 0}),
        ("purchases", "currency", PURCHASE | {"currency": "XXX"}),
        ("purchases", "merchant", PURCHASE | {"merchant": "a" * 41}),
        ("purchases", "byCard", PURCHASE | {"byCard": 1}),
        ("purchases", "otp_life_ms", PURCHASE | {"otp_life_ms": 0}),
        ("purchases", "poll_limit_ms", PURCHASE | {"poll_limit_ms": 3_600_001}),
        ("authenticators", "consumerId", {}),
        ("authenticators", "appInstanceId", {"consumerId": "c", "appInstanceId": "a/b"}),
    ],
)
async def test_bad_input_gets_a_400_with_the_name_of_the_field(
    caller: Caller, path: str, field: str, body: Any
) -> None:
    response = await caller.control("POST", path, body)

    assert (response.status, response.json["error"].partition(" is ")[0]) == (400, field)


def outcome(response: Response) -> tuple[int, str]:
    return response.status, response.json["error"]


async def test_what_is_unknown_or_not_awaited_gets_a_404_or_409(shopper: Caller) -> None:
    path = await start(shopper, "frictionless")
    for action in ("otp", "resend", "approve", "deny"):
        late = await shopper.control("POST", f"{path}/{action}", {"otp": "123456"})
        unknown = await shopper.control("POST", f"purchases/none/{action}", {"otp": "123456"})
        assert outcome(late) == (409, "the purchase does not wait for this action")
        assert outcome(unknown) == (404, "no such purchase")
    await shopper.operate("suspend", reasonCode="FRAUD")
    suspended = await shopper.control("POST", "purchases", {"cardId": shopper.card_id, "flow": "frictionless"})
    assert outcome(suspended) == (409, "the card is not active")
    assert outcome(await shopper.control("POST", "purchases", PURCHASE)) == (404, "Card does not exist")
    assert outcome(await shopper.control("POST", "authenticators", {"consumerId": "none"}))[0] == 404
    for wait in ("x", "-1", "60001", "9" * 5000):
        assert outcome(await shopper.control("GET", f"{path}?wait_ms={wait}"))[1].startswith("wait_ms is ")


def issuer_key(caller: Caller, curve: str = "P-256") -> Any:
    return jwk.JWK.generate(kty="EC", crv=curve, kid=caller.name, use="sig")


def public(key: Any) -> dict[str, Any]:
    return dict(key.export_public(as_dict=True))


async def test_a_further_assertion_key_is_taken_beside_the_first_until_it_is_removed(caller: Caller) -> None:
    first, second = caller.assertion_key, issuer_key(caller)
    added = [await caller.control("POST", "keys/assertion", public(second)) for _ in range(2)]
    assert (added[0].status, outcome(added[1])) == (204, (409, "a key with this kid exists"))

    for caller.assertion_key in (first, second):
        assert (await caller.get_token()).status == 200
    shown = (await caller.control("GET", "keys")).json["assertion"]
    removed = await caller.control("DELETE", f"keys/assertion/{second['kid']}")

    assert {"kid": second["kid"], "lookups": 1} in shown
    assert removed.status == 204
    assert (await caller.get_token()).status == 401
    caller.assertion_key = first
    assert (await caller.get_token()).status == 200


async def test_a_further_encryption_key_is_read_with_beside_the_first_until_it_is_removed(caller: Caller) -> None:
    first, made = caller.encryption_key, await caller.control("POST", "keys/encryption")
    second = jwk.JWK(**made.json)
    assert (made.status, "d" in made.json) == (201, False)

    assert (await caller.register()).status == 204
    caller.encryption_key = second
    assert (await caller.register("{card}-2", pan=caller.other_pan)).status == 204
    removed = await caller.control("DELETE", f"keys/encryption/{second['kid']}")

    assert removed.status == 204
    assert (await caller.operate("renew", encryptedData=caller.encrypted())).status == 400
    caller.encryption_key = first
    assert (await caller.operate("renew", encryptedData=caller.encrypted())).status == 204


@pytest.mark.parametrize("kind", ["assertion", "encryption"])
async def test_a_key_that_is_not_there_is_not_removed(caller: Caller, kind: str) -> None:
    assert outcome(await caller.control("DELETE", f"keys/{kind}/nobody")) == (404, "no such key")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kid": None}, "kid is missing or malformed"),
        ({"kty": "RSA"}, "kty is not one of the values allowed"),
        ({"crv": "P-384"}, "crv is not one of the values allowed"),
        ({"x": 5}, "JWK is missing or malformed"),
        ({"x": "AAAA"}, "JWK is missing or malformed"),
        ({"d": "AAAA"}, "d is not one of the values allowed"),
    ],
)
async def test_what_is_no_public_key_on_p256_is_refused(caller: Caller, change: dict[str, Any], error: str) -> None:
    key = public(issuer_key(caller, str(change.get("crv", "P-256"))))

    assert outcome(await caller.control("POST", "keys/assertion", key | change)) == (400, error)
