"""What D1 sends in its callback requests, and its checks of the replies."""

import json
from functools import partial
from typing import Any

import pytest

from sandbox.d1.acs.currency import find_currency
from sandbox.d1.acs.purchase import Flow, Order, Status
from sandbox.d1.acs.purchases import NotPossibleError
from sandbox.d1.model.contract import SuspendReason
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import Credentials
from tests.integration.sandbox.sandbox_caller import Caller, jwk
from tests.integration.sandbox.sandbox_edge import INFORMATION, Edge, EdgeServer, Reply, buy, until

KINDS = {
    "information": ("getConsumerInformation", Flow.SMS_OTP),
    "otp": ("deliverOtp", Flow.SMS_OTP_ISSUER),
    "authentication": ("authenticateConsumer", Flow.OOB_ISSUER),
    "result": ("getAuthenticationResult", Flow.OOB_ISSUER),
}
FIXED = {"authenticationId": "auth-1"}
UNKNOWN, NO_ERROR = "which D1 does not know", 'with a body that is not {"error"}'
WRONG = "is missing or wrong in the reply to"


@pytest.mark.parametrize(
    ("flow", "error"),
    [
        (Flow.SMS_OTP, "The OTP expired"),
        (Flow.SMS_OTP_ISSUER, "The OTP expired"),
        (Flow.OOB, "The consumer did not decide"),
        (Flow.OOB_ISSUER, "The issuer had no result in time"),
    ],
)
async def test_a_purchase_fails_if_the_consumer_does_nothing(
    stranger: Caller, edge: Edge, flow: Flow, error: str
) -> None:
    edge.replies["result"] = [Reply(body={"status": "PENDING"})]
    stranger.sandbox.store.add_consumer(stranger.consumer_id)
    stranger.sandbox.authenticators.enrol(stranger.consumer_id)
    limits = {"otp_seconds": 0.01, "decision_seconds": 0.01, "poll_limit_seconds": 0.05}

    purchase = buy(stranger.sandbox, stranger.name, flow, **limits)

    assert (await purchase.done(), purchase.error) == (Status.FAILED, error)


async def test_d1_may_ask_for_the_issuers_result_once_and_takes_no_other_answer(stranger: Caller, edge: Edge) -> None:
    edge.replies["result"] = [Reply(body={"status": "PENDING"}), Reply(body={"status": "SUCCESSFUL"})]

    purchase = buy(stranger.sandbox, stranger.name, Flow.OOB_ISSUER, asks_once=True)

    assert (await purchase.done(), purchase.error) == (Status.FAILED, "The issuer had no result in time")
    assert [call.name for call in purchase.calls] == ["authenticateConsumer", "getAuthenticationResult"]


async def test_the_issuer_is_given_the_otp_and_what_it_is_for(stranger: Caller, edge: Edge) -> None:
    order = {"amount": 1000, "currency": find_currency("JPY"), "merchant": "Books", "by_card": True}
    purchase = buy(stranger.sandbox, stranger.name, Flow.SMS_OTP_ISSUER, **order)
    assert await purchase.awaiting() is Status.AWAITS_OTP

    (call,) = edge.callbacks
    otp = call.body["otp"]["value"]
    assert call.path == f"/banking/d1/v1/issuers/SANDBOX001/consumers/{stranger.consumer_id}/otp"
    assert call.query == {"cardId": stranger.card_id}
    assert call.body == {
        "otp": {"value": otp, "expirationDate": "15/01/2027 08:03:00", "reason": "CARDHOLDER-VERIFICATION"},
        "deliveryChannel": "SMS",
        "panSuffix": f"{stranger.name[1:]:0>4}"[-4:],
        "threeDSDetails": {
            "acsTransactionId": purchase.details["acsTransactionId"],
            "merchantName": "Books",
            "purchaseAmount": "1000",
            "purchaseCurrency": "392",
            "purchaseExponent": "0",
            "purchaseDate": "20270115080000",
        },
    }
    assert (len(otp), otp in repr(purchase)) == (6, False)
    assert stranger.sandbox.phones.messages(purchase.purchase_id) == []


async def test_a_purchase_is_described_as_in_d1s_sdk_on_demand(stranger: Caller, edge: Edge) -> None:
    order = {"cardId": stranger.card_id, "flow": "sms-otp-issuer", "amount": 1000, "currency": "AUD", "asSdk": True}
    buy(stranger.sandbox, stranger.name, Flow.FRICTIONLESS)
    purchase_id = (await stranger.control("POST", "purchases", order)).json["purchaseId"]
    assert (await stranger.control("GET", f"purchases/{purchase_id}?wait_ms=10000")).json["status"] == "AWAITS_OTP"

    (call,) = edge.callbacks
    purchase = call.body["threeDSDetails"]
    assert (purchase["purchaseAmount"], purchase["purchaseCurrency"], purchase["purchaseExponent"]) == (1000, 36, 2)
    assert purchase["threeDSRequestorAppURL"] == f"merchant-app://purchases/{purchase_id}"
    assert "acsTransId" in purchase.keys() - {"acsTransactionId"}


async def test_registered_personal_data_are_not_requested(stranger: Caller, edge: Edge) -> None:
    stranger.sandbox.store.register_consumer(stranger.consumer_id, PersonalInformation.of(INFORMATION))
    purchase = buy(stranger.sandbox, stranger.name, Flow.SMS_OTP)

    assert await purchase.awaiting() is Status.AWAITS_OTP
    assert edge.callbacks == []


@pytest.mark.parametrize("missing", ["language", "mobilePhoneNumber"])
async def test_without_a_phone_number_or_a_language_no_otp_is_sent(stranger: Caller, edge: Edge, missing: str) -> None:
    edge.replies["information"] = [Reply(body={name: value for name, value in INFORMATION.items() if name != missing})]

    purchase = buy(stranger.sandbox, stranger.name, Flow.SMS_OTP, by_card=True)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == "The consumer has no phone number or no language"
    assert stranger.sandbox.phones.messages(purchase.purchase_id) == []
    assert edge.callbacks[0].query == {"cardId": stranger.card_id}


async def test_only_an_active_card_buys_and_only_with_its_consumers_authenticator(stranger: Caller) -> None:
    sandbox, name = stranger.sandbox, stranger.name
    sandbox.store.add_consumer("another")
    sandbox.authenticators.enrol("another")
    with pytest.raises(NotPossibleError, match="authenticator"):
        buy(sandbox, name, Flow.OOB)
    sandbox.store.suspend(stranger.card_id, SuspendReason.FRAUD)
    with pytest.raises(NotPossibleError, match="not active"):
        buy(sandbox, name, Flow.FRICTIONLESS)
    with pytest.raises(D1Error, match="Card does not exist"):
        sandbox.purchases.start(Order("none", Flow.FRICTIONLESS))

    assert stranger.card_id not in [purchase.order.card_id for purchase in sandbox.purchases.all()]


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
        ("information", Reply(body={"mobilePhoneNumber": {}}), f"mobilePhoneNumber {WRONG}"),
        ("information", Reply(body={"mobilePhoneNumber": {"phoneNumber": "1"}}), f"countryCode {WRONG}"),
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

    purchase = buy(stranger.sandbox, stranger.name, KINDS[kind][1])

    assert await purchase.done() is Status.FAILED
    (error,) = purchase.failed_checks
    assert problem in error
    assert KINDS[kind][0] in error
    assert "secret" not in error
    last = purchase.calls[-1]
    assert (last.name, last.status, last.problem, purchase.error) == (KINDS[kind][0], reply.status, error, error)


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

    purchase = buy(stranger.sandbox, stranger.name, KINDS[kind][1])

    assert await purchase.done() is Status.FAILED
    assert (purchase.error, purchase.failed_checks) == (f"{KINDS[kind][0]} got HTTP {status}", [])
    await purchase.notified()
    assert edge.notifications[0].body["error"] == purchase.error


def card_data(caller: Caller, **card: Any) -> Reply:
    return Reply(body={"encryptedData": caller.sealed(json.dumps(card))})


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
    await until(lambda: not caller.sandbox.store.card(new_id).awaits_credentials)

    assert caller.sandbox.store.card(new_id).details.credentials == Credentials(pan, "1230")
    path = f"/cms/api/v1/issuers/SANDBOX001/cards/{new_id}/credentials"
    assert [call.path for call in edge.callbacks] == [path] * 3
    assert (await caller.register("{card}-3", pan=pan)).status == 409


async def test_data_that_d1_cannot_use_are_requested_four_times_and_an_error_on_record(
    caller: Caller, edge_server: EdgeServer
) -> None:
    def failures(name: str) -> list[str]:
        return [error for error in caller.sandbox.background.errors if f" {name}-card: " in error]

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
        (card_data(caller, pan=pan, exp="1230"), f"cvv {WRONG}"),
        (card_data(caller, pan=caller.other_pan, exp="1230", cvv="123"), "The card number is not one that"),
    )
    names = [f"{caller.name}x{place}" for place in range(len(cases))]
    for name, (reply, _) in zip(names, cases, strict=True):
        edge_server.edges[name].replies["credentials"] = [reply]
        await caller.register(f"{name}-card", pan=f"{caller.pan}{name[-2:].removeprefix('x')}")
        await caller.operate("renew", f"{name}-card")

    for name, (_, problem) in zip(names, cases, strict=True):
        await until(partial(failures, name))
        (error,) = failures(name)
        assert error.startswith(f"credentials of {name}-card: {problem}")
        assert caller.pan not in error
        assert len(edge_server.edges[name].callbacks) == 4
        assert caller.sandbox.store.card(f"{name}-card").awaits_credentials
