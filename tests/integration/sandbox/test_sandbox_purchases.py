"""Purchases, with D1 as the access control server: what it requests, how it ends them, and what it notifies."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.d1.acs.currency import find_currency
from sandbox.d1.acs.purchase import Delivery, Flow, NotAwaitedError, Order, Purchase, Status
from sandbox.d1.acs.purchases import NotPossibleError
from sandbox.d1.model.contract import InitialState
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.personal import PersonalInformation
from sandbox.d1.model.store import CardDetails, Credentials
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import INFORMATION, Edge, EdgeServer, Reply, until

PENDING = Reply(body={"status": "PENDING"})


class Shop:
    """A merchant where the caller's card is used."""

    def __init__(self, sandbox: Sandbox, edge: Edge, name: str, pan: str = "4000001234567899") -> None:
        self.sandbox, self.edge = sandbox, edge
        self.card_id, self.consumer_id = f"{name}-card", f"{name}-consumer"
        card = CardDetails(self.consumer_id, "light", InitialState.ACTIVE, credentials=Credentials(pan, "1228"))
        sandbox.store.register(self.card_id, card)

    def buy(self, flow: Flow, **changes: Any) -> Purchase:
        order: dict[str, Any] = {"card_id": self.card_id, "poll_seconds": 0.01} | changes
        return self.sandbox.purchases.start(Order(flow=flow, **order))

    def otp(self, purchase: Purchase) -> str:
        """The OTP that the consumer got last."""
        messages = self.sandbox.phones.messages(purchase.purchase_id)
        return messages[-1].otp if messages else self.edge.otp()


@pytest.fixture
def shop(stranger: Caller, edge: Edge) -> Shop:
    return Shop(stranger.sandbox, edge, stranger.name, stranger.pan)


def wrong(otp: str) -> str:
    return f"{(int(otp) + 1) % 1_000_000:06d}"


@pytest.mark.parametrize(
    ("flow", "operation", "error"),
    [
        (Flow.FRICTIONLESS, "3DS_FRICTIONLESS", None),
        (Flow.SMS_OTP, "3DS_CHALLENGE_OTP_SMS", "The OTP expired"),
        (Flow.SMS_OTP_ISSUER, "3DS_CHALLENGE_OTP_SMS", "The OTP expired"),
        (Flow.OOB, "3DS_CHALLENGE_OOB", "The consumer did not decide"),
        (Flow.OOB_ISSUER, "3DS_CHALLENGE_OOB_ISSUER", "The issuer had no result in time"),
    ],
)
async def test_the_end_of_a_purchase_without_the_consumer_is_notified_as_the_history_tells_it(
    shop: Shop, edge: Edge, caller: Caller, flow: Flow, operation: str, error: str | None
) -> None:
    edge.replies["result"] = [PENDING]
    shop.sandbox.authenticators.enrol(shop.consumer_id)
    await until(lambda: edge.notifications)
    purchase = shop.buy(flow, poll_limit_seconds=0.05, otp_seconds=0.01, decision_seconds=0.01)

    assert await purchase.notified() == Delivery(204)

    listed = await caller.call("GET", "v1/issuers/{issuer}/cards/{card}/3ds/operations")
    _, notified = edge.notifications
    assert notified.path == f"/notifications/d1/v1/issuers/SANDBOX001/cards/{shop.card_id}/3ds/notifications"
    assert listed.json == {"operations": [notified.body], "remainingOperations": 0}
    assert notified.body == {
        "operationId": purchase.operation_id,
        "operation": operation,
        "status": "SUCCESSFUL" if error is None else "FAILED",
        "startTime": "2027-01-15T08:00:00.000Z",
        "consumerId": shop.consumer_id,
        "details": purchase.details,
    } | ({} if error is None else {"error": error})


async def test_d1_requests_the_phone_number_and_sends_the_otp_there(shop: Shop, edge: Edge) -> None:
    purchase = shop.buy(Flow.SMS_OTP, amount=12345, currency=find_currency("400"), merchant="Books")
    assert await purchase.awaiting() is Status.AWAITS_OTP

    (message,) = shop.sandbox.phones.messages(purchase.purchase_id)
    assert (message.phone, message.language) == ("+962790000000", "ar-JO")
    assert message.text == f"{message.otp} is your code for JOD 12.345 at Books. Never tell it to anybody."
    assert message.otp not in repr([purchase, message])
    (call,) = edge.callbacks
    assert call.path == f"/banking/d1/v1/issuers/SANDBOX001/consumers/{shop.consumer_id}"
    assert (call.query, call.body) == ({}, None)
    assert call.headers["x-correlation-id"] == purchase.operation_id


async def test_the_issuer_is_given_the_otp_and_what_it_is_for(shop: Shop, edge: Edge) -> None:
    purchase = shop.buy(Flow.SMS_OTP_ISSUER, amount=1000, currency=find_currency("JPY"), merchant="Books", by_card=True)
    assert await purchase.awaiting() is Status.AWAITS_OTP

    (call,) = edge.callbacks
    assert call.path == f"/banking/d1/v1/issuers/SANDBOX001/consumers/{shop.consumer_id}/otp"
    assert call.query == {"cardId": shop.card_id}
    assert call.body == {
        "otp": {
            "value": edge.otp(),
            "expirationDate": "15/01/2027 08:03:00",
            "reason": "CARDHOLDER-VERIFICATION",
        },
        "deliveryChannel": "SMS",
        "panSuffix": purchase.card.details.credentials.pan[-4:] if purchase.card.details.credentials else None,
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
    assert edge.otp() not in repr(purchase)
    assert shop.sandbox.phones.messages(purchase.purchase_id) == []


async def test_registered_personal_data_are_not_requested(shop: Shop, edge: Edge) -> None:
    shop.sandbox.store.register_consumer(shop.consumer_id, PersonalInformation.of(INFORMATION))
    purchase = shop.buy(Flow.SMS_OTP)

    assert await purchase.awaiting() is Status.AWAITS_OTP
    assert edge.callbacks == []


@pytest.mark.parametrize("missing", ["language", "mobilePhoneNumber"])
async def test_without_a_phone_number_or_a_language_no_otp_is_sent(shop: Shop, edge: Edge, missing: str) -> None:
    edge.replies["information"] = [Reply(body={name: value for name, value in INFORMATION.items() if name != missing})]

    purchase = shop.buy(Flow.SMS_OTP, by_card=True)

    assert await purchase.done() is Status.FAILED
    assert purchase.error == "The consumer has no phone number or no language"
    assert shop.sandbox.phones.messages(purchase.purchase_id) == []
    assert edge.callbacks[0].query == {"cardId": shop.card_id}


async def test_the_third_wrong_otp_ends_a_purchase(shop: Shop, edge: Edge) -> None:
    purchase = shop.buy(Flow.SMS_OTP_ISSUER)
    await purchase.awaiting()

    tries = [(purchase.type_otp(otp), purchase.otp_attempts_left) for otp in (wrong(edge.otp()), "ünsinn", "")]

    assert tries == [(False, 2), (False, 1), (False, 0)]
    for act in (lambda: purchase.type_otp(edge.otp()), purchase.approve, purchase.deny, purchase.resend):
        with pytest.raises(NotAwaitedError):
            act()
    assert await purchase.done() is Status.FAILED
    assert purchase.error == "3 wrong OTPs were typed in"


@pytest.mark.parametrize("flow", [Flow.SMS_OTP, Flow.SMS_OTP_ISSUER])
async def test_a_resent_otp_is_another_one_and_leaves_the_attempts(shop: Shop, edge: Edge, flow: Flow) -> None:
    purchase = shop.buy(flow)
    await purchase.awaiting()
    purchase.type_otp(wrong(shop.otp(purchase)))

    purchase.resend()
    with pytest.raises(NotAwaitedError):
        purchase.type_otp("000000")
    assert await purchase.awaiting() is Status.AWAITS_OTP

    assert purchase.otp_attempts_left == 2
    assert len(edge.callbacks) == (2 if flow is Flow.SMS_OTP_ISSUER else 1)
    assert purchase.type_otp(shop.otp(purchase))
    assert await purchase.done() is Status.SUCCESSFUL


@pytest.mark.parametrize(("approves", "error"), [(True, None), (False, "The consumer denied")])
async def test_a_decision_with_d1s_own_authenticator_ends_a_purchase(
    shop: Shop, edge: Edge, *, approves: bool, error: str | None
) -> None:
    shop.sandbox.authenticators.enrol(shop.consumer_id)
    purchase = shop.buy(Flow.OOB)
    assert await purchase.awaiting() is Status.AWAITS_DECISION

    (purchase.approve if approves else purchase.deny)()

    assert await purchase.done() is (Status.SUCCESSFUL if approves else Status.FAILED)
    assert (purchase.error, edge.callbacks) == (error, [])


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"authenticationId": "auth-1", "status": "SUCCESSFUL"}, None),
        ({"status": "FAILED", "error": "Denied in the app"}, "Denied in the app"),
        ({"status": "FAILED"}, "The issuer did not authenticate the consumer"),
    ],
)
async def test_the_issuers_result_is_polled_until_it_is_final(
    shop: Shop, edge: Edge, result: dict[str, str], error: str | None
) -> None:
    edge.replies["result"] = [PENDING, PENDING, Reply(body=result)]

    purchase = shop.buy(Flow.OOB_ISSUER)

    assert await purchase.done() is (Status.FAILED if error else Status.SUCCESSFUL)
    assert (purchase.error, purchase.failed_checks) == (error, [])
    assert edge.kinds() == ["authentication", "result", "result", "result"]
    request, poll = edge.callbacks[:2]
    assert request.path == f"/banking/d1/v1/issuers/SANDBOX001/consumers/{shop.consumer_id}/authentication"
    assert (request.body["cardId"], request.body["threeDSDetails"]["purchaseAmount"]) == (shop.card_id, "1999")
    assert poll.path == f"{request.path}/auth-1"


async def test_a_purchase_is_notified_until_it_is_taken(shop: Shop, edge: Edge) -> None:
    edge.replies["notification"] = [Reply(500), Reply(400), Reply(204)]

    purchase = shop.buy(Flow.FRICTIONLESS)

    assert await purchase.done() is Status.SUCCESSFUL
    assert purchase.delivery is None
    assert await purchase.notified() == Delivery(204)
    assert [call.body for call in edge.notifications] == [purchase.operation().body()] * 3


async def test_what_the_edge_never_takes_is_given_up_after_five_attempts(shop: Shop, edge: Edge) -> None:
    edge.replies["notification"] = [Reply(503)]
    enrolled = f"ENROLL_AUTHN of {shop.sandbox.authenticators.enrol(shop.consumer_id)}"

    purchase = shop.buy(Flow.FRICTIONLESS)

    assert await purchase.notified() == Delivery(None, "The edge responded 503")
    assert purchase.status is Status.SUCCESSFUL
    await until(lambda: f"{enrolled}: The edge responded 503" in shop.sandbox.background.errors)
    assert len(edge.notifications) == 2 * 5


async def test_only_an_active_card_buys_and_only_with_its_consumers_authenticator(shop: Shop) -> None:
    shop.sandbox.store.add_consumer("another")
    shop.sandbox.authenticators.enrol("another")
    with pytest.raises(NotPossibleError, match="authenticator"):
        shop.buy(Flow.OOB)
    shop.sandbox.store.delete(shop.card_id)
    with pytest.raises(NotPossibleError, match="not active"):
        shop.buy(Flow.FRICTIONLESS)
    with pytest.raises(D1Error, match="Card does not exist"):
        shop.buy(Flow.FRICTIONLESS, card_id="none")

    assert shop.card_id not in [purchase.order.card_id for purchase in shop.sandbox.purchases.all()]


async def test_purchases_at_the_same_time_do_not_meet(shop: Shop) -> None:
    purchases = [shop.buy(Flow.SMS_OTP) for _ in range(20)]
    await asyncio.gather(*(purchase.awaiting() for purchase in purchases))

    for purchase in purchases[::2]:
        assert purchase.type_otp(shop.otp(purchase))
    await asyncio.gather(*(purchase.notified() for purchase in purchases[::2]))

    assert [purchase.status for purchase in purchases] == [Status.SUCCESSFUL, Status.AWAITS_OTP] * 10
    notified = {call.body["operationId"] for call in shop.edge.notifications}
    assert notified == {purchase.operation_id for purchase in purchases[::2]}


async def test_purchases_end_with_the_sandbox(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with Sandbox.start(tmp_path) as sandbox, EdgeServer().serve(sandbox) as server:
        sandbox.set_edge(server.url)
        shop = Shop(sandbox, server.of("n"), "n")
        shop.edge.replies["otp"] = [Reply(204), Reply(204, delay_seconds=60)]
        purchases = [shop.buy(Flow.SMS_OTP_ISSUER) for _ in range(2)]
        await until(lambda: len(shop.edge.callbacks) == 2)

    assert [purchase.status for purchase in purchases] == [Status.FAILED] * 2
    assert [await purchase.notified() for purchase in purchases] == [Delivery(None, "The simulator stopped")] * 2
    assert sandbox.background.errors == []
    assert asyncio.all_tasks() <= before
