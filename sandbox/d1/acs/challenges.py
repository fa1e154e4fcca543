"""Cardholder authentication by flow (D1 API: implement 3DS), and the phones that receive its SMS."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc.jwk import ECKey

from sandbox.d1.acs.purchase import Entry, Flow, NotAuthenticatedError, Purchase
from sandbox.d1.callbacks.edge_client import EdgeClient
from sandbox.d1.callbacks.requests import CallbackRequests
from sandbox.d1.model import contract
from sandbox.d1.model.contract import OperationStatus, PurchaseField
from sandbox.d1.model.store import CardStore

__all__ = ["Challenges", "Phones", "Sms"]


@dataclass(frozen=True, slots=True)
class Sms:
    """An SMS that D1 sent."""

    phone: str = field(repr=False)
    """The recipient's number, for example ``+962790000000``."""
    language: str
    """The consumer's language as D1 knows it; the text is English in any case."""
    text: str = field(repr=False)
    otp: str = field(repr=False)
    """The OTP in the text."""
    purchase_id: str
    sent: datetime


class Phones:
    """The phones of simulated consumers: all SMS since the sandbox started."""

    def __init__(self) -> None:
        self._messages: list[Sms] = []
        self.on_sms: Callable[[Sms], None] = lambda _: None
        """Called with each SMS."""

    def receive(self, message: Sms) -> None:
        """Receive an SMS."""
        self._messages.append(message)
        self.on_sms(message)

    def messages(self, purchase_id: str | None = None) -> list[Sms]:
        """Return the SMS of one purchase or of all, oldest first."""
        return [message for message in self._messages if purchase_id in {None, message.purchase_id}]


class Challenges:
    """Authenticates cardholders."""

    def __init__(
        self,
        edge: EdgeClient,
        keys: Mapping[str, ECKey],
        cards: CardStore,
        phones: Phones,
        clock: Callable[[], float],
    ) -> None:
        """Authenticate with D1's own data and the issuer's callback replies.

        Args:
            edge: The client of the gateway's edge.
            keys: D1's private keys for card data, by ``kid``.
            cards: The store with the consumers' personal data.
            phones: The recipients of SMS.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._edge = edge
        self._keys = keys
        self._cards = cards
        self._phones = phones
        self._clock = clock
        self._flows = {
            Flow.SMS_OTP: self._sms_otp,
            Flow.SMS_OTP_ISSUER: self._sms_otp_issuer,
            Flow.OOB: self._oob,
            Flow.OOB_ISSUER: self._oob_issuer,
        }

    async def authenticate(self, purchase: Purchase) -> None:
        """Authenticate the holder of a purchase's card.

        Raises:
            NotAuthenticatedError: The consumer could not authenticate or denied.
            NotDeliveredError: The edge did not respond.
            CallbackError: The edge refused, or D1 cannot use its reply.
        """
        flow = self._flows.get(purchase.order.flow)
        if flow is not None:
            await flow(purchase, CallbackRequests(self._edge, self._keys, purchase.operation_id, purchase.calls))

    async def _sms_otp(self, purchase: Purchase, requests: CallbackRequests) -> None:
        person = self._cards.personal_information(purchase.consumer_id)
        if person is None or person.phone is None or person.language is None:
            person = await requests.consumer_information(purchase.consumer_id, _named_card(purchase))
        if person.phone is None or person.language is None:
            raise NotAuthenticatedError("The consumer has no phone number or no language")
        entry = Entry.RESEND
        while entry is Entry.RESEND:
            otp = _new_otp()
            self._phones.receive(self._sms(purchase, otp, person.phone, person.language))
            entry = await purchase.otp_typed(otp)
        _require_right(entry)

    async def _sms_otp_issuer(self, purchase: Purchase, requests: CallbackRequests) -> None:
        entry = Entry.RESEND
        while entry is Entry.RESEND:
            otp = _new_otp()
            await requests.deliver_otp(purchase.consumer_id, self._otp_body(purchase, otp), _named_card(purchase))
            entry = await purchase.otp_typed(otp)
        _require_right(entry)

    async def _oob(self, purchase: Purchase, _: CallbackRequests) -> None:
        _require_right(await purchase.decided())

    async def _oob_issuer(self, purchase: Purchase, requests: CallbackRequests) -> None:
        body = {contract.FIELD_CARD_ID: purchase.order.card_id, contract.FIELD_PURCHASE: _purchase_body(purchase)}
        authentication_id = await requests.authenticate(purchase.consumer_id, body)
        loop = asyncio.get_running_loop()
        end = loop.time() + purchase.order.poll_limit_seconds
        while loop.time() < end:
            await asyncio.sleep(purchase.order.poll_seconds)
            result = await requests.authentication_result(purchase.consumer_id, authentication_id)
            if result.status is OperationStatus.SUCCESSFUL:
                return
            if result.status is OperationStatus.FAILED:
                raise NotAuthenticatedError(result.error or "The issuer did not authenticate the consumer")
            if purchase.order.asks_once:
                break
        raise NotAuthenticatedError("The issuer had no result in time")

    def _sms(self, purchase: Purchase, otp: str, phone: str, language: str) -> Sms:
        order = purchase.order
        price = order.currency.format(order.amount)
        text = f"{otp} is your code for {price} at {order.merchant}. Never tell it to anybody."
        return Sms(phone, language, text, otp, purchase.purchase_id, datetime.fromtimestamp(self._clock(), UTC))

    def _otp_body(self, purchase: Purchase, otp: str) -> dict[str, Any]:
        expiry = datetime.fromtimestamp(self._clock(), UTC) + timedelta(seconds=purchase.order.otp_seconds)
        credentials = purchase.card.details.credentials
        return {
            "otp": {
                "value": otp,
                "expirationDate": expiry.strftime(contract.OTP_EXPIRATION_FORMAT),
                "reason": contract.OTP_REASON,
            },
            "deliveryChannel": contract.OTP_CHANNEL,
            **({} if credentials is None else {"panSuffix": credentials.pan[-4:]}),
            contract.FIELD_PURCHASE: _purchase_body(purchase),
        }


def _purchase_body(purchase: Purchase) -> dict[str, Any]:
    order = purchase.order
    body: dict[str, Any] = {
        PurchaseField.ACS_TRANSACTION_ID.value: purchase.details["acsTransactionId"],
        PurchaseField.MERCHANT.value: order.merchant,
        PurchaseField.AMOUNT.value: str(order.amount),
        PurchaseField.CURRENCY.value: order.currency.numeric,
        PurchaseField.EXPONENT.value: str(order.currency.exponent),
        PurchaseField.DATE.value: purchase.start_time.strftime(contract.PURCHASE_DATE_FORMAT),
    }
    if order.as_sdk:
        body[PurchaseField.SDK_ACS_TRANSACTION_ID.value] = body.pop(PurchaseField.ACS_TRANSACTION_ID.value)
        for number in (PurchaseField.AMOUNT, PurchaseField.CURRENCY, PurchaseField.EXPONENT):
            body[number.value] = int(body[number.value])
        body[PurchaseField.SDK_REQUESTOR_APP_URL.value] = f"merchant-app://purchases/{purchase.purchase_id}"
    return body


def _named_card(purchase: Purchase) -> str | None:
    return purchase.order.card_id if purchase.order.by_card else None


def _require_right(entry: Entry) -> None:
    if entry is Entry.SPENT:
        raise NotAuthenticatedError(f"{contract.OTP_ATTEMPTS} wrong OTPs were typed in")
    if entry is Entry.DENIED:
        raise NotAuthenticatedError("The consumer denied")


def _new_otp() -> str:
    return f"{secrets.randbelow(10**contract.OTP_DIGITS):0{contract.OTP_DIGITS}d}"
