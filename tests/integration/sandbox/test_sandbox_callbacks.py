"""D1's checks of the replies to its callback requests."""

import asyncio
import json
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.store import CardDetails, Credentials
from tests.integration.sandbox.sandbox_caller import Caller, jwk
from tests.integration.sandbox.sandbox_edge import INFORMATION, Edge, EdgeServer, Reply, until

KINDS = {
    "information": ("getConsumerInformation", Flow.SMS_OTP),
    "otp": ("deliverOtp", Flow.SMS_OTP_ISSUER),
    "authentication": ("authenticateConsumer", Flow.OOB_ISSUER),
    "result": ("getAuthenticationResult", Flow.OOB_ISSUER),
}
FIXED = {"authenticationId": "auth-1"}
UNKNOWN, NO_ERROR = "which D1 does not know", 'with a body that is not {"error"}'
WRONG = "is missing or wrong in the reply to"


def buy(sandbox: Sandbox, name: str, kind: str) -> Purchase:
    """Start a purchase that sends a callback request of that kind."""
    card_id = f"{name}-card"
    sandbox.store.register(card_id, CardDetails(f"{name}-consumer", "light", InitialState.ACTIVE))
    return sandbox.purchases.start(Order(card_id, KINDS[kind][1], poll_seconds=0.01))


@pytest.mark.parametrize(
    ("kind", "reply", "problem"),
    [
        ("information", Reply(204), UNKNOWN),
        ("information", Reply(503), UNKNOWN),
        ("information", Reply(302), UNKNOWN),
        ("information", Reply(500, "<p>Sorry</p>"), NO_ERROR),
        ("information", Reply(404, {"message": "x"}), NO_ERROR),
        ("information", Reply(404, {"error": 1}), NO_ERROR),
        ("information", Reply(body=None), "got a reply that is not JSON"),
        ("information", Reply(body=INFORMATION, content_type="text/plain"), "got a reply that is not JSON"),
        ("information", Reply(body="{"), "got a reply that is not a JSON object"),
        ("information", Reply(body=[INFORMATION]), "got a reply that is not a JSON object"),
        ("information", Reply(body=INFORMATION | {"language": "secret"}), f"language {WRONG}"),
        ("information", Reply(body=INFORMATION | {"lastName": None}), f"lastName {WRONG}"),
        ("information", Reply(body={"mobilePhoneNumber": {}}), f"countryCode {WRONG}"),
        ("otp", Reply(200, {}), UNKNOWN),
        ("otp", Reply(202), UNKNOWN),
        ("authentication", Reply(201, FIXED), UNKNOWN),
        ("authentication", Reply(body={}), f"authenticationId {WRONG}"),
        ("authentication", Reply(body={"authenticationId": "a/secret"}), f"authenticationId {WRONG}"),
        ("authentication", Reply(body={"authenticationId": 1}), f"authenticationId {WRONG}"),
        ("result", Reply(body=FIXED), f"status {WRONG}"),
        ("result", Reply(body={"status": "DENIED secret"}), "status has a value that is not allowed in the reply to"),
        ("result", Reply(body={"status": True}), f"status {WRONG}"),
        ("result", Reply(body={"authenticationId": "x", "status": "PENDING"}), "authenticationId has a value that is"),
        ("result", Reply(body={"status": "FAILED", "error": {}}), f"error {WRONG}"),
    ],
)
async def test_a_reply_that_breaks_the_contract_is_recorded_without_its_values_and_fails_the_purchase(
    stranger: Caller, edge: Edge, kind: str, reply: Reply, problem: str
) -> None:
    edge.replies[kind] = [reply]

    purchase = buy(stranger.sandbox, stranger.name, kind)

    assert await purchase.done() is Status.FAILED
    assert purchase.error is not None
    assert problem in purchase.error
    assert "secret" not in purchase.error
    assert KINDS[kind][0] in purchase.error
    assert purchase.failed_checks == [purchase.error]
    last = purchase.calls[-1]
    assert (last.name, last.status, last.problem) == (KINDS[kind][0], reply.status, purchase.error)


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        *(("information", status, {"error": "Not now"}) for status in (400, 401, 403, 404, 405, 415, 500)),
        *((kind, 500, None) for kind in KINDS),
    ],
)
async def test_an_error_that_d1_understands_fails_the_purchase_and_is_notified(
    stranger: Caller, edge: Edge, kind: str, status: int, body: Any
) -> None:
    edge.replies[kind] = [Reply(status, body)]

    purchase = buy(stranger.sandbox, stranger.name, kind)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == f"{KINDS[kind][0]} got HTTP {status}"
    assert purchase.failed_checks == []
    await purchase.notified()
    assert edge.notifications[0].body["error"] == purchase.error


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("information", INFORMATION | {"shoeSize": 42}),
        ("authentication", FIXED | {"pushed": True}),
        ("result", {"status": "SUCCESSFUL", "error": "", "by": "face"}),
    ],
)
async def test_fields_outside_the_contract_do_no_harm(stranger: Caller, edge: Edge, kind: str, body: Any) -> None:
    edge.replies[kind] = [Reply(body=body)]

    purchase = buy(stranger.sandbox, stranger.name, kind)

    await purchase.awaiting()
    assert purchase.status is not Status.FAILED


async def test_every_callback_request_is_recorded_with_its_status_and_duration(stranger: Caller, edge: Edge) -> None:
    edge.replies["result"] = [Reply(body={"status": "PENDING"}, delay_seconds=0.1), Reply(500)]

    purchase = buy(stranger.sandbox, stranger.name, "result")

    await purchase.done()
    assert [(call.name, call.status, call.problem) for call in purchase.calls] == [
        ("authenticateConsumer", 200, None),
        ("getAuthenticationResult", 200, None),
        ("getAuthenticationResult", 500, "getAuthenticationResult got HTTP 500"),
    ]
    assert purchase.calls[1].milliseconds >= 100


async def test_a_bug_in_the_background_is_recorded_without_its_text_and_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("secret")

    sandbox.background.start(broken(), "a division")
    await until(lambda: "a division: ZeroDivisionError" in sandbox.background.errors)

    assert "a division failed" in caplog.text


def card_data(caller: Caller, **card: Any) -> Reply:
    return Reply(body={"encryptedData": caller.sealed(json.dumps(card))})


async def over(card_id: str) -> None:
    """Wait until D1 no longer requests a card's data."""
    await until(lambda: f"credentials of {card_id}" not in {task.get_name() for task in asyncio.all_tasks()})


@pytest.mark.parametrize("verb", ["renew", "replace"])
async def test_d1_requests_the_data_of_a_card_renewed_or_replaced_without_them_until_they_arrive(
    caller: Caller, edge: Edge, verb: str
) -> None:
    await caller.register()
    pan, new_id = (caller.pan if verb == "renew" else caller.other_pan), f"{caller.card_id}-2"
    data = card_data(caller, pan=pan, exp="1230", name="A. Cardholder", cvv="123")
    edge.replies["credentials"] = [Reply(500), Reply(404), data]

    await caller.operate(verb, reasonCode="CARD_LOST", newCardId=new_id)
    assert caller.sandbox.store.card(new_id).awaits_credentials
    await over(new_id)

    card = caller.sandbox.store.card(new_id)
    assert (card.awaits_credentials, card.details.credentials) == (False, Credentials(pan, "1230"))
    path = f"/cms/api/v1/issuers/SANDBOX001/cards/{new_id}/credentials"
    assert [call.path for call in edge.callbacks] == [path] * 3
    assert (await caller.register("{card}-3", pan=pan)).status == 409


@pytest.mark.parametrize(
    ("verb", "ends_as"), [("renew", ("ACTIVE", "1231")), ("delete", ("DELETED", "1228"))], ids=["renewed", "deleted"]
)
async def test_d1_requests_no_data_that_it_has_or_that_a_deleted_card_needs(
    caller: Caller, edge: Edge, verb: str, ends_as: tuple[str, str]
) -> None:
    await caller.register()
    edge.replies["credentials"] = [Reply(500)]
    await caller.operate("renew")
    await until(lambda: edge.callbacks)

    await caller.operate(verb, reasonCode="CLOSED_CARD", encryptedData=caller.encrypted(exp="1231"))
    await over(caller.card_id)

    card = caller.sandbox.store.card(caller.card_id)
    assert card.details.credentials is not None
    assert (card.state, card.details.credentials.expiry) == ends_as
    assert len(edge.callbacks) == 1


async def test_data_that_d1_cannot_use_are_requested_four_times_and_an_error_on_record(
    caller: Caller, edge_server: EdgeServer
) -> None:
    strange = jwk.JWK.generate(kty="EC", crv="P-256", kid=caller.encryption_key["kid"])
    pan = caller.pan
    cases = (
        (Reply(204), "cmsGetCardCredentials got HTTP 204, which D1 does not know"),
        (Reply(404, {"error": "Card unknown"}), "cmsGetCardCredentials got HTTP 404"),
        (Reply(body={}), f"encryptedData {WRONG}"),
        (Reply(body={"encryptedData": "a.b.c"}), f"encryptedData {WRONG}"),
        (Reply(body={"encryptedData": caller.encrypted(key=strange)}), "encryptedData has a value that is not allowed"),
        (card_data(caller, pan=pan, exp="3012"), f"exp {WRONG}"),
        (card_data(caller, pan=pan), f"exp {WRONG}"),
        (card_data(caller, pan="123", exp="1230"), f"pan {WRONG}"),
        (card_data(caller, pan=pan, exp="1230", cvv="12"), f"cvv {WRONG}"),
        (card_data(caller, pan=pan, exp="1230", name="a" * 129), f"name {WRONG}"),
        (card_data(caller, pan=caller.other_pan, exp="1230"), "The card number is not one that this card can"),
    )
    names = [f"{caller.name}x{place}" for place in range(len(cases))]
    for name, (reply, _) in zip(names, cases, strict=True):
        edge_server.of(name).replies["credentials"] = [reply]
        await caller.register(f"{name}-card", pan=f"{caller.pan}{name[-2:].removeprefix('x')}")
        await caller.operate("renew", f"{name}-card")

    for name, (_, problem) in zip(names, cases, strict=True):
        await over(f"{name}-card")
        (error,) = (each for each in caller.sandbox.background.errors if f" {name}-card: " in each)
        assert error.startswith(f"credentials of {name}-card: {problem}")
        assert caller.pan not in error
        assert len(edge_server.of(name).callbacks) == 4
        assert caller.sandbox.store.card(f"{name}-card").awaits_credentials
