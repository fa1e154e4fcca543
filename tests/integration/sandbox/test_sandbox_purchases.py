import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.d1.acs.currency import find_currency
from sandbox.d1.acs.purchase import Delivery, Flow, NotAwaitedError, Order, Purchase, Status
from sandbox.d1.acs.purchases import NotPossibleError
from sandbox.d1.model.contract import CardState, InitialState
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import CardDetails, Credentials
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import INFORMATION, Edge, Reply

CARD = CardDetails("consumer-1", "light", InitialState.ACTIVE, credentials=Credentials("4000001234567899", "1228"))
FAST = Order("card-1", Flow.OOB_ISSUER, poll_seconds=0.01)
PENDING = Reply(body={"status": "PENDING"})


@pytest.fixture
def shop(sandbox: Sandbox, edge: Edge) -> Sandbox:
    """A sandbox with an edge and a card."""
    assert edge.url
    sandbox.store.register("card-1", CARD)
    return sandbox


def buy(shop: Sandbox, flow: Flow, **changes: Any) -> Purchase:
    return shop.purchases.start(replace(FAST, flow=flow, **changes))


def wrong(otp: str) -> str:
    return f"{(int(otp) + 1) % 1_000_000:06d}"


def notified(edge: Edge) -> dict[str, Any]:
    (received,) = edge.received
    assert received.path == "/notifications/d1/v1/issuers/SANDBOX001/cards/card-1/3ds/notifications"
    return received.body


async def test_a_frictionless_purchase_asks_nothing_and_is_kept_and_notified(shop: Sandbox, edge: Edge) -> None:
    purchase = buy(shop, Flow.FRICTIONLESS)

    assert await purchase.done() is Status.SUCCESSFUL
    assert await purchase.notified() == Delivery(204)
    assert edge.callbacks == []
    assert notified(edge) == {
        "operationId": purchase.operation_id,
        "operation": "3DS_FRICTIONLESS",
        "status": "SUCCESSFUL",
        "startTime": "2027-01-15T08:00:00.000Z",
        "consumerId": "consumer-1",
        "details": purchase.details,
    }


@pytest.mark.parametrize("flow", Flow)
async def test_what_is_notified_is_what_the_history_tells(
    shop: Sandbox, edge: Edge, caller: Caller, flow: Flow
) -> None:
    shop.authenticators.enrol("consumer-1", "app-1")
    while not edge.received:  # noqa: ASYNC110 - the edge sends no event
        await asyncio.sleep(0.01)
    edge.received.clear()
    purchase = buy(shop, flow, poll_limit_seconds=0.001, otp_seconds=0.01, decision_seconds=0.01)
    await purchase.notified()

    listed = await caller.request("GET", "v1/issuers/{issuer}/cards/card-1/3ds/operations")

    assert listed.json == {"operations": [notified(edge)], "remainingOperations": 0}


async def test_d1_asks_for_the_phone_number_and_sends_the_otp_there(shop: Sandbox, edge: Edge) -> None:
    purchase = buy(shop, Flow.SMS_OTP, amount=12345, currency=find_currency("400"), merchant="Books")
    assert await purchase.awaiting() is Status.AWAITS_OTP
    (message,) = shop.phones.messages(purchase.purchase_id)

    right = purchase.type_otp(message.otp)

    assert right
    assert await purchase.done() is Status.SUCCESSFUL
    assert (message.phone, message.language) == ("+962790000000", "ar-JO")
    assert message.text == f"{message.otp} is your code for JOD 12.345 at Books. Never tell it to anybody."
    (call,) = edge.callbacks
    assert call.path == "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1"
    assert (call.query, call.body) == ({}, None)
    assert call.headers["x-correlation-id"] == purchase.operation_id
    await purchase.notified()
    assert (notified(edge)["operation"], notified(edge)["status"]) == ("3DS_CHALLENGE_OTP_SMS", "SUCCESSFUL")


async def test_registered_personal_data_are_not_requested(shop: Sandbox, edge: Edge) -> None:
    shop.store.register_consumer("consumer-1", PersonalInformation.of(INFORMATION))
    purchase = buy(shop, Flow.SMS_OTP)

    await purchase.awaiting()

    assert purchase.type_otp(shop.phones.messages()[0].otp)
    assert edge.callbacks == []


@pytest.mark.parametrize("missing", ["language", "mobilePhoneNumber"])
async def test_without_a_phone_number_or_a_language_no_otp_is_sent(shop: Sandbox, edge: Edge, missing: str) -> None:
    edge.replies["information"] = [Reply(body={name: value for name, value in INFORMATION.items() if name != missing})]

    purchase = buy(shop, Flow.SMS_OTP)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == "The consumer has no phone number or no language"
    assert shop.phones.messages() == []


async def test_the_card_is_named_where_personal_data_are_tied_to_it(shop: Sandbox, edge: Edge) -> None:
    for flow in (Flow.SMS_OTP, Flow.SMS_OTP_ISSUER):
        await buy(shop, flow, by_card=True).awaiting()

    assert [call.query for call in edge.callbacks] == [{"cardId": "card-1"}] * 2


async def test_the_issuer_is_given_the_otp_and_what_it_is_for(shop: Sandbox, edge: Edge) -> None:
    purchase = buy(shop, Flow.SMS_OTP_ISSUER, amount=1000, currency=find_currency("JPY"), merchant="Books")
    assert await purchase.awaiting() is Status.AWAITS_OTP

    assert purchase.type_otp(edge.otp())
    assert await purchase.done() is Status.SUCCESSFUL
    (call,) = edge.callbacks
    assert call.path == "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1/otp"
    assert call.body == {
        "otp": {
            "value": edge.otp(),
            "expirationDate": "15/01/2027 08:03:00",
            "reason": "CARDHOLDER-VERIFICATION",
        },
        "deliveryChannel": "SMS",
        "panSuffix": "7899",
        "threeDSDetails": {
            "acsTransactionId": purchase.details["acsTransactionId"],
            "merchantName": "Books",
            "purchaseAmount": "1000",
            "purchaseCurrency": "392",
            "purchaseExponent": "0",
            "purchaseDate": "20270115080000",
        },
    }
    assert len(edge.otp()) == 6
    assert shop.phones.messages() == []


async def test_three_wrong_otps_end_a_purchase(shop: Sandbox, edge: Edge) -> None:
    purchase = buy(shop, Flow.SMS_OTP_ISSUER)
    await purchase.awaiting()

    tries = [(purchase.type_otp(wrong(edge.otp())), purchase.otp_attempts_left) for _ in range(3)]

    assert tries == [(False, 2), (False, 1), (False, 0)]
    with pytest.raises(NotAwaitedError):
        purchase.type_otp(edge.otp())
    assert await purchase.done() is Status.FAILED
    await purchase.notified()
    assert (notified(edge)["status"], notified(edge)["error"]) == ("FAILED", "3 wrong OTPs were typed in")


async def test_the_right_otp_after_two_wrong_ones_is_taken(shop: Sandbox, edge: Edge) -> None:
    purchase = buy(shop, Flow.SMS_OTP_ISSUER)
    await purchase.awaiting()

    typed = [purchase.type_otp(otp) for otp in (wrong(edge.otp()), "ünsinn", edge.otp())]

    assert typed == [False, False, True]
    assert await purchase.done() is Status.SUCCESSFUL


@pytest.mark.parametrize("flow", [Flow.SMS_OTP, Flow.SMS_OTP_ISSUER])
async def test_a_resent_otp_is_another_one_and_leaves_the_attempts(shop: Sandbox, edge: Edge, flow: Flow) -> None:
    def sent() -> str:
        return edge.otp() if flow is Flow.SMS_OTP_ISSUER else shop.phones.messages()[-1].otp

    purchase = buy(shop, flow)
    await purchase.awaiting()
    first = sent()
    purchase.type_otp(wrong(first))

    purchase.resend()
    with pytest.raises(NotAwaitedError):
        purchase.type_otp(first)
    assert await purchase.awaiting() is Status.AWAITS_OTP

    assert purchase.otp_attempts_left == 2
    assert len(edge.callbacks) == (2 if flow is Flow.SMS_OTP_ISSUER else 1)
    assert purchase.type_otp(sent())
    assert await purchase.done() is Status.SUCCESSFUL


async def test_an_otp_expires(shop: Sandbox) -> None:
    purchase = buy(shop, Flow.SMS_OTP_ISSUER, otp_seconds=0.05)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == "The OTP expired"


@pytest.mark.parametrize(
    ("decide", "status", "error"),
    [(Purchase.approve, Status.SUCCESSFUL, None), (Purchase.deny, Status.FAILED, "The consumer denied")],
)
async def test_a_decision_with_d1s_authenticator_ends_a_purchase(
    shop: Sandbox, edge: Edge, decide: Callable[[Purchase], None], status: Status, error: str | None
) -> None:
    shop.authenticators.enrol("consumer-1")
    purchase = buy(shop, Flow.OOB)
    assert await purchase.awaiting() is Status.AWAITS_DECISION

    decide(purchase)

    assert await purchase.done() is status
    await purchase.notified()
    body = next(received.body for received in edge.received if received.body["operationId"] == purchase.operation_id)
    assert (body["operation"], body["status"]) == ("3DS_CHALLENGE_OOB", status.value)
    assert body.get("error") == error
    assert edge.callbacks == []


async def test_an_authenticator_that_nobody_takes_up_ends_a_purchase(shop: Sandbox) -> None:
    shop.authenticators.enrol("consumer-1")

    purchase = buy(shop, Flow.OOB, decision_seconds=0.05)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == "The consumer did not decide"


async def test_the_issuers_result_is_polled_until_it_is_final(shop: Sandbox, edge: Edge) -> None:
    edge.replies["result"] = [PENDING, PENDING, Reply(body={"authenticationId": "auth-1", "status": "SUCCESSFUL"})]

    purchase = buy(shop, Flow.OOB_ISSUER)

    assert await purchase.done() is Status.SUCCESSFUL
    assert edge.kinds() == ["authentication", "result", "result", "result"]
    assert edge.callbacks[0].path == "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1/authentication"
    assert edge.callbacks[0].body["cardId"] == "card-1"
    assert edge.callbacks[0].body["threeDSDetails"]["purchaseAmount"] == "1999"
    assert edge.callbacks[1].path == edge.callbacks[0].path + "/auth-1"
    await purchase.notified()
    assert (notified(edge)["operation"], notified(edge)["status"]) == ("3DS_CHALLENGE_OOB_ISSUER", "SUCCESSFUL")


@pytest.mark.parametrize(
    ("told", "error"),
    [("Denied in the app", "Denied in the app"), (None, "The issuer did not authenticate the consumer")],
)
async def test_the_issuers_denial_fails_a_purchase(shop: Sandbox, edge: Edge, told: str | None, error: str) -> None:
    edge.replies["result"] = [Reply(body={"status": "FAILED"} | ({} if told is None else {"error": told}))]

    purchase = buy(shop, Flow.OOB_ISSUER)

    assert await purchase.done() is Status.FAILED
    await purchase.notified()
    assert notified(edge)["error"] == error
    assert purchase.failed_checks == []


async def test_a_result_that_never_comes_is_given_up(shop: Sandbox, edge: Edge) -> None:
    edge.replies["result"] = [PENDING]

    purchase = buy(shop, Flow.OOB_ISSUER, poll_limit_seconds=0.2)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == "The issuer had no result in time"
    assert edge.kinds()[:3] == ["authentication", "result", "result"]


async def test_a_purchase_is_notified_until_it_is_taken(shop: Sandbox, edge: Edge) -> None:
    edge.statuses = [500, 400]

    purchase = buy(shop, Flow.FRICTIONLESS)

    assert await purchase.done() is Status.SUCCESSFUL
    assert purchase.delivery is None
    assert await purchase.notified() == Delivery(204)
    assert [received.body for received in edge.received] == [purchase.operation().body()] * 3


async def test_a_purchase_that_the_edge_never_takes_stays_as_it_ended(shop: Sandbox, edge: Edge) -> None:
    edge.statuses = [503] * 5

    purchase = buy(shop, Flow.FRICTIONLESS)

    assert await purchase.notified() == Delivery(None, "The edge responded 503")
    assert purchase.status is Status.SUCCESSFUL
    assert len(edge.received) == 5


async def test_only_an_active_card_buys(shop: Sandbox) -> None:
    shop.store.delete("card-1")

    with pytest.raises(NotPossibleError, match="not active"):
        buy(shop, Flow.FRICTIONLESS)
    with pytest.raises(D1Error, match="Card does not exist"):
        buy(shop, Flow.FRICTIONLESS, card_id="card-2")
    assert shop.store.card("card-1").state is CardState.DELETED
    assert shop.purchases.all() == ()


async def test_an_authenticator_of_another_consumer_does_not_help(shop: Sandbox) -> None:
    shop.store.add_consumer("consumer-2")
    shop.authenticators.enrol("consumer-2")

    with pytest.raises(NotPossibleError, match="authenticator"):
        buy(shop, Flow.OOB)


async def test_a_consumer_does_only_what_is_awaited(shop: Sandbox) -> None:
    purchase = buy(shop, Flow.SMS_OTP_ISSUER)
    await purchase.awaiting()

    for act in (purchase.approve, purchase.deny):
        with pytest.raises(NotAwaitedError):
            act()
    assert purchase.status is Status.AWAITS_OTP


async def test_purchases_at_the_same_time_do_not_meet(shop: Sandbox, edge: Edge) -> None:
    purchases = [buy(shop, Flow.SMS_OTP) for _ in range(20)]
    await asyncio.gather(*(purchase.awaiting() for purchase in purchases))

    for purchase in purchases[::2]:
        assert purchase.type_otp(shop.phones.messages(purchase.purchase_id)[0].otp)
    await asyncio.gather(*(purchase.notified() for purchase in purchases[::2]))

    assert [purchase.status for purchase in purchases] == [Status.SUCCESSFUL, Status.AWAITS_OTP] * 10
    assert {received.body["operationId"] for received in edge.received} == {
        purchase.operation_id for purchase in purchases[::2]
    }


async def test_no_otp_is_shown_by_printing(shop: Sandbox, edge: Edge) -> None:
    by_d1, by_issuer = buy(shop, Flow.SMS_OTP), buy(shop, Flow.SMS_OTP_ISSUER)
    await by_d1.awaiting()
    await by_issuer.awaiting()

    printed = repr([by_d1, by_issuer, shop.phones.messages()])

    assert edge.otp() not in printed
    assert shop.phones.messages()[0].otp not in printed


async def test_purchases_end_with_the_sandbox(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path) as sandbox, Edge().serve(sandbox) as edge:
        sandbox.set_edge(edge.url)
        sandbox.store.register("card-1", CARD)
        edge.replies["otp"] = [Reply(204), Reply(204, delay_seconds=60)]
        waiting, asking = buy(sandbox, Flow.SMS_OTP_ISSUER), buy(sandbox, Flow.SMS_OTP_ISSUER)
        while len(edge.callbacks) < 2:  # noqa: ASYNC110 - the edge sends no event
            await asyncio.sleep(0.01)

    assert [waiting.status, asking.status] == [Status.FAILED] * 2
    assert await asking.notified() == Delivery(None, "The simulator stopped")
    assert sandbox.background.errors == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
