"""One purchase at a simulated merchant: the order, D1's progress, and the consumer's actions."""

import asyncio
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sandbox.d1.acs.currency import EUR, Currency
from sandbox.d1.callbacks.requests import SentRequest
from sandbox.d1.model import contract
from sandbox.d1.model.contract import OperationStatus, ThreeDSOperation
from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from sandbox.d1.model.store import Card

__all__ = ["Delivery", "Entry", "Flow", "NotAuthenticatedError", "NotAwaitedError", "Order", "Purchase", "Status"]

_BROKEN_OFF = "The simulator stopped"


class Flow(StrEnum):
    """How the cardholder is authenticated."""

    FRICTIONLESS = "frictionless"
    """None: the ruleset sees little risk."""
    SMS_OTP = "sms-otp"
    """An OTP that D1 sends by SMS."""
    SMS_OTP_ISSUER = "sms-otp-issuer"
    """An OTP that the issuer sends on D1's request."""
    OOB = "oob"
    """The authenticator that D1's SDK enrolled in the issuer's app."""
    OOB_ISSUER = "oob-issuer"
    """The issuer's own authentication."""


_OPERATIONS = {
    Flow.FRICTIONLESS: ThreeDSOperation.FRICTIONLESS,
    Flow.SMS_OTP: ThreeDSOperation.CHALLENGE_OTP_SMS,
    Flow.SMS_OTP_ISSUER: ThreeDSOperation.CHALLENGE_OTP_SMS,
    Flow.OOB: ThreeDSOperation.CHALLENGE_OOB,
    Flow.OOB_ISSUER: ThreeDSOperation.CHALLENGE_OOB_ISSUER,
}


class Status(StrEnum):
    """The status of a purchase."""

    RUNNING = "RUNNING"
    """D1 is processing."""
    AWAITS_OTP = "AWAITS_OTP"
    """The consumer must enter an OTP."""
    AWAITS_DECISION = "AWAITS_DECISION"
    """The consumer must approve or deny in the app: D1's authenticator, or the sandbox's own issuer."""
    SUCCESSFUL = "SUCCESSFUL"
    FAILED = "FAILED"


class Entry(StrEnum):
    """The consumer's action."""

    RIGHT = "right"
    """Entered the right OTP, or approved."""
    RESEND = "resend"
    """Requested another OTP."""
    SPENT = "spent"
    """Used up all OTP attempts."""
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Order:
    """The order, and D1's time limits for it."""

    card_id: str
    flow: Flow
    amount: int = 1999
    """In minor units of the currency."""
    currency: Currency = EUR
    merchant: str = "Books and More"
    by_card: bool = False
    """Whether D1 sends the card's id with consumer requests: personal data tied to cards at onboarding."""
    as_sdk: bool = False
    """Whether D1 describes the purchase as its SDK does: other names, numbers, the merchant's app."""
    otp_seconds: float = contract.OTP_LIFETIME_SECONDS
    """The OTP's lifetime, in seconds."""
    decision_seconds: float = contract.DECISION_SECONDS
    """The time for the decision with D1's authenticator, in seconds."""
    poll_seconds: float = contract.POLL_SECONDS
    """The pause before each request for the issuer's result, in seconds."""
    approves: bool = False
    """Whether the consumer enters the right OTP, or approves, at once, instead of through the control API."""
    asks_once: bool = False
    """Whether D1 asks for the issuer's result once, instead of polling. Its documentation allows for both."""
    poll_limit_seconds: float = contract.POLL_LIMIT_SECONDS
    """How long D1 polls for the issuer's result, in seconds."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of the final notification."""

    status: int | None
    """The edge's status; None if the edge never accepted it."""
    error: str | None = None


class NotAwaitedError(Exception):
    """The purchase does not wait for this action."""


class NotAuthenticatedError(Exception):
    """The cardholder is not authenticated. The text gives the reason, for people."""


@dataclass(eq=False, slots=True)
class Purchase:
    """A purchase.

    The consumer acts through `type_otp`, `resend`, `approve` and `deny`; D1 changes everything else.
    """

    order: Order
    card: Card
    """The card at the start of the purchase."""
    start_time: datetime
    purchase_id: str = field(default_factory=lambda: f"pur_{secrets.token_hex(16)}")
    operation_id: str = field(default_factory=new_operation_id)
    """D1's id of the operation, in the history and in notifications."""
    details: dict[str, str] = field(default_factory=new_details)
    calls: list[SentRequest] = field(default_factory=list)
    """The callbacks made for it, in order."""
    status: Status = Status.RUNNING
    error: str | None = None
    """The reason of a failure, for people."""
    delivery: Delivery | None = None
    """The delivery of the final notification; None before."""
    otp_attempts_left: int = contract.OTP_ATTEMPTS
    on_change: "Callable[[Purchase], None]" = field(default=lambda _: None, repr=False)
    """Called when the status changes, and when the end is notified."""
    _otp: str = field(default="", init=False, repr=False)
    _entry: "asyncio.Future[Entry] | None" = field(default=None, init=False, repr=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    @property
    def consumer_id(self) -> str:
        """The card's consumer."""
        return self.card.details.consumer_id

    @property
    def failed_checks(self) -> list[str]:
        """What D1 found wrong in callback replies."""
        return [call.problem for call in self.calls if call.breaks_contract and call.problem is not None]

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in {Status.SUCCESSFUL, Status.FAILED}

    @property
    def rests(self) -> bool:
        """Whether D1 does nothing by itself: the purchase waits for the consumer, or its end was notified."""
        return self.delivery is not None or self.status in {Status.AWAITS_OTP, Status.AWAITS_DECISION}

    def operation(self) -> Notification:
        """Return the operation as D1 stores and notifies it, once the purchase is over."""
        succeeded = self.status is Status.SUCCESSFUL
        return Notification(
            self.order.card_id,
            self.operation_id,
            self.start_time,
            operation=_OPERATIONS[self.order.flow].value,
            status=(OperationStatus.SUCCESSFUL if succeeded else OperationStatus.FAILED).value,
            consumer_id=self.consumer_id,
            details=self.details,
            error=self.error,
        )

    async def awaiting(self) -> Status:
        """Wait until `rests`; return the status."""
        await self._until(lambda: self.rests)
        return self.status

    async def done(self) -> Status:
        """Wait until it is over; return its status."""
        await self._until(lambda: self.over)
        return self.status

    async def notified(self) -> Delivery:
        """Wait until the final notification was delivered or given up."""
        await self._until(lambda: self.delivery is not None)
        return self.delivery or Delivery(None)

    def type_otp(self, otp: str) -> bool:
        """Enter an OTP; return whether it was right.

        Raises:
            NotAwaitedError: No OTP is awaited.
        """
        self._require(Status.AWAITS_OTP)
        if hmac.compare_digest(otp.encode(), self._otp.encode()):
            self._decide(Entry.RIGHT)
            return True
        self.otp_attempts_left -= 1
        if self.otp_attempts_left == 0:
            self._decide(Entry.SPENT)
        return False

    def resend(self) -> None:
        """Request another OTP, which invalidates the earlier one.

        Raises:
            NotAwaitedError: No OTP is awaited.
        """
        self._require(Status.AWAITS_OTP)
        self._decide(Entry.RESEND)

    def approve(self) -> None:
        """Approve in the app.

        Raises:
            NotAwaitedError: No decision is awaited.
        """
        self._require(Status.AWAITS_DECISION)
        self._decide(Entry.RIGHT)

    def deny(self) -> None:
        """Deny in the app.

        Raises:
            NotAwaitedError: No decision is awaited.
        """
        self._require(Status.AWAITS_DECISION)
        self._decide(Entry.DENIED)

    async def otp_typed(self, otp: str) -> Entry:
        """Wait, as D1, for an OTP.

        Raises:
            NotAuthenticatedError: The OTP expired.
        """
        self._otp = otp
        return await self._entered(Status.AWAITS_OTP, self.order.otp_seconds, "The OTP expired")

    async def decided(self) -> Entry:
        """Wait, as D1 or as the issuer, for the decision in the app.

        Raises:
            NotAuthenticatedError: The time is over.
        """
        return await self._entered(Status.AWAITS_DECISION, self.order.decision_seconds, "The consumer did not decide")

    def end(self, error: str | None) -> None:
        """End the purchase, as D1: successfully, or with the reason of the failure."""
        if self._entry is not None:
            # D1 no longer waits for the issuer, whose app still asks.
            self._decide(Entry.DENIED)
        self.error = error
        self._set(Status.SUCCESSFUL if error is None else Status.FAILED)

    def deliver(self, delivery: Delivery) -> None:
        """Record, as D1, the delivery of the final notification."""
        self.delivery = delivery
        self._change()

    def break_off(self) -> None:
        """Release all waiters when D1 stops halfway; no effect on a purchase that is done."""
        if not self.over:
            self.end(_BROKEN_OFF)
        if self.delivery is None:
            self.deliver(Delivery(None, _BROKEN_OFF))

    async def _entered(self, status: Status, seconds: float, too_late: str) -> Entry:
        if self.order.approves:
            return Entry.RIGHT
        entry: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._entry = entry
        self._set(status)
        # Not a timeout that cancels: an entry at the last moment counts.
        await asyncio.wait([entry], timeout=seconds)
        if not entry.done():
            self._decided()
            raise NotAuthenticatedError(too_late)
        return entry.result()

    def _require(self, status: Status) -> None:
        if self.status is not status:
            raise NotAwaitedError

    def _decide(self, entry: Entry) -> None:
        if self._entry is not None:
            self._entry.set_result(entry)
        self._decided()

    def _decided(self) -> None:
        # At once, not when D1 wakes: the status must show that the consumer has acted.
        self._entry = None
        self._otp = ""
        self._set(Status.RUNNING)

    def _set(self, status: Status) -> None:
        self.status = status
        self._change()

    def _change(self) -> None:
        self.on_change(self)
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()
