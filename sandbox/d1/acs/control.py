"""The part of the control API that makes purchases and acts for consumers."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from aiohttp import web

from sandbox.common.fields import (
    InvalidFormatError,
    InvalidValueError,
    choice,
    flag,
    integer,
    json_object,
    optional_text,
    text,
)
from sandbox.d1.acs.authenticators import Authenticators
from sandbox.d1.acs.challenges import Phones, Sms
from sandbox.d1.acs.currency import Currency, find_currency
from sandbox.d1.acs.purchase import Delivery, Flow, Order, Purchase
from sandbox.d1.acs.purchases import Purchases
from sandbox.d1.callbacks.background import Background
from sandbox.d1.model import contract
from sandbox.d1.model.notification import History

__all__ = ["AcsControl", "NoSuchPurchaseError", "shown_purchase", "shown_sms"]

_LARGEST_AMOUNT = 10**12
_MERCHANT = re.compile(r".{1,40}")
"""EMV 3DS: the longest merchant name."""
_SHORTEST_MS = 1
_LONGEST_MS = 3_600_000
_LONGEST_WAIT_MS = 60_000


class NoSuchPurchaseError(Exception):
    """No purchase has that id."""


@dataclass(frozen=True, slots=True)
class AcsControl:
    """The control API of purchases and authenticators."""

    ENDPOINTS: ClassVar[Mapping[str, str]] = {
        "GET /sandbox/purchases": "",
        "POST /sandbox/purchases": (
            f"cardId, flow ({', '.join(Flow)}), amount (minor units), currency (ISO 4217), merchant, approves, "
            "wait_ms, byCard, asSdk, otp_life_ms, decision_ms, poll_interval_ms, poll_limit_ms, asksOnce"
        ),
        "GET /sandbox/purchases/{purchaseId}": "?wait_ms: until it waits for the consumer, or its end is notified",
        "POST /sandbox/purchases/{purchaseId}/otp": "otp",
        "POST /sandbox/purchases/{purchaseId}/resend": "",
        "POST /sandbox/purchases/{purchaseId}/approve": "",
        "POST /sandbox/purchases/{purchaseId}/deny": "",
        "GET /sandbox/history": "?cardId: of one card; of all without it, newest first within a card",
        "GET /sandbox/sms": "?purchaseId",
        "GET /sandbox/authenticators": "",
        "POST /sandbox/authenticators": "consumerId, appInstanceId",
        "DELETE /sandbox/authenticators/{appInstanceId}": "",
        "GET /sandbox/errors": "",
    }
    """Each endpoint with its fields."""

    purchases: Purchases
    phones: Phones
    authenticators: Authenticators
    background: Background
    history: History

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        purchase = "/sandbox/purchases/{purchaseId}"
        return [
            web.get("/sandbox/purchases", self._list),
            web.post("/sandbox/purchases", self._start),
            web.get(purchase, self._show),
            web.post(f"{purchase}/otp", self._type_otp),
            web.post(f"{purchase}/resend", self._resend),
            web.post(f"{purchase}/approve", self._approve),
            web.post(f"{purchase}/deny", self._deny),
            web.get("/sandbox/history", self._list_history),
            web.get("/sandbox/sms", self._list_sms),
            web.get("/sandbox/authenticators", self._list_authenticators),
            web.post("/sandbox/authenticators", self._enrol),
            web.delete("/sandbox/authenticators/{appInstanceId}", self._delete_authenticator),
            web.get("/sandbox/errors", self._list_errors),
        ]

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"purchases": [shown_purchase(purchase) for purchase in self.purchases.all()]})

    async def _start(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        order, wait_ms = _order(body), integer(body, "wait_ms", 0, 0, _LONGEST_WAIT_MS)
        purchase = self.purchases.start(order)
        await _rests(purchase, wait_ms / 1000)
        return web.json_response(shown_purchase(purchase), status=201)

    async def _show(self, request: web.Request) -> web.Response:
        purchase = self._purchase(request)
        await _rests(purchase, _wait_seconds(request))
        return web.json_response(shown_purchase(purchase))

    async def _type_otp(self, request: web.Request) -> web.Response:
        purchase = self._purchase(request)
        right = purchase.type_otp(text(json_object(await request.read()), "otp"))
        return web.json_response({"right": right, **shown_purchase(purchase)})

    async def _resend(self, request: web.Request) -> web.Response:
        purchase = self._purchase(request)
        purchase.resend()
        return web.json_response(shown_purchase(purchase))

    async def _approve(self, request: web.Request) -> web.Response:
        purchase = self._purchase(request)
        purchase.approve()
        return web.json_response(shown_purchase(purchase))

    async def _deny(self, request: web.Request) -> web.Response:
        purchase = self._purchase(request)
        purchase.deny()
        return web.json_response(shown_purchase(purchase))

    async def _list_history(self, request: web.Request) -> web.Response:
        card_id = request.query.get("cardId")
        found = self.history.all() if card_id is None else self.history.of(card_id)
        return web.json_response({"operations": [{"cardId": each.card_id, **each.body()} for each in found]})

    async def _list_sms(self, request: web.Request) -> web.Response:
        found = self.phones.messages(request.query.get("purchaseId"))
        return web.json_response({"messages": [shown_sms(message) for message in found]})

    async def _list_authenticators(self, _: web.Request) -> web.Response:
        shown = [{"appInstanceId": app, "consumerId": of} for app, of in self.authenticators.all().items()]
        return web.json_response({"authenticators": shown})

    async def _enrol(self, request: web.Request) -> web.Response:
        body = json_object(await request.read())
        consumer_id = text(body, "consumerId", contract.CONSUMER_ID)
        wanted = optional_text(body, "appInstanceId", contract.APP_INSTANCE_ID)
        return web.json_response({"appInstanceId": self.authenticators.enrol(consumer_id, wanted)}, status=201)

    async def _delete_authenticator(self, request: web.Request) -> web.Response:
        self.authenticators.delete(request.match_info["appInstanceId"])
        return web.Response(status=204)

    async def _list_errors(self, _: web.Request) -> web.Response:
        return web.json_response({"errors": self.background.errors})

    def _purchase(self, request: web.Request) -> Purchase:
        purchase = self.purchases.find(request.match_info["purchaseId"])
        if purchase is None:
            raise NoSuchPurchaseError
        return purchase


def _order(body: Mapping[str, Any]) -> Order:
    plain = Order(text(body, "cardId", contract.CARD_ID), choice(body, "flow", Flow))
    return replace(
        plain,
        amount=integer(body, "amount", plain.amount, 1, _LARGEST_AMOUNT),
        currency=_currency(body, plain.currency),
        merchant=optional_text(body, "merchant", _MERCHANT) or plain.merchant,
        approves=flag(body, "approves"),
        by_card=flag(body, "byCard"),
        as_sdk=flag(body, "asSdk"),
        otp_seconds=_seconds(body, "otp_life_ms", plain.otp_seconds),
        decision_seconds=_seconds(body, "decision_ms", plain.decision_seconds),
        poll_seconds=_seconds(body, "poll_interval_ms", plain.poll_seconds),
        poll_limit_seconds=_seconds(body, "poll_limit_ms", plain.poll_limit_seconds),
        asks_once=flag(body, "asksOnce"),
    )


async def _rests(purchase: Purchase, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await purchase.awaiting()


def _currency(body: Mapping[str, Any], default: Currency) -> Currency:
    code = optional_text(body, "currency")
    currency = default if code is None else find_currency(code)
    if currency is None:
        raise InvalidValueError("currency")
    return currency


def _seconds(body: Mapping[str, Any], name: str, default: float) -> float:
    return integer(body, name, round(default * 1000), _SHORTEST_MS, _LONGEST_MS) / 1000


def _wait_seconds(request: web.Request) -> float:
    digits = request.query.get("wait_ms", "0")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= len(str(_LONGEST_WAIT_MS))):
        raise InvalidFormatError("wait_ms")
    if int(digits) > _LONGEST_WAIT_MS:
        raise InvalidValueError("wait_ms")
    return int(digits) / 1000


def shown_purchase(purchase: Purchase) -> dict[str, Any]:
    """Return a purchase as the control API shows it."""
    order = purchase.order
    return {
        "purchaseId": purchase.purchase_id,
        "operationId": purchase.operation_id,
        "status": purchase.status.value,
        "error": purchase.error,
        "cardId": order.card_id,
        "consumerId": purchase.consumer_id,
        "flow": order.flow.value,
        "amount": order.amount,
        "currency": order.currency.alpha,
        "merchant": order.merchant,
        "otpAttemptsLeft": purchase.otp_attempts_left,
        "calls": [
            {
                "name": call.name,
                "status": call.status,
                "milliseconds": round(call.milliseconds, 1),
                "problem": call.problem,
            }
            for call in purchase.calls
        ],
        "failedChecks": purchase.failed_checks,
        "notification": _shown_delivery(purchase.delivery),
    }


def _shown_delivery(delivery: Delivery | None) -> dict[str, Any] | None:
    return None if delivery is None else {"status": delivery.status, "error": delivery.error}


def shown_sms(message: Sms) -> dict[str, Any]:
    """Return an SMS as the control API shows it, with its OTP."""
    return {
        "phone": message.phone,
        "language": message.language,
        "text": message.text,
        "otp": message.otp,
        "purchaseId": message.purchase_id,
        "sent": message.sent.isoformat(timespec="milliseconds"),
    }
