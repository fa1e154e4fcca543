"""One purchase at a simulated merchant: what is bought, how far D1 has come, and what its consumer does."""

import asyncio
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sandbox.d1.acs.currency import EUR, Currency
from sandbox.d1.callbacks.questions import MadeCall
from sandbox.d1.model import contract
from sandbox.d1.model.contract import OperationStatus, ThreeDSOperation
from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from sandbox.d1.model.store import Card

__all__ = ["Delivery", "Entry", "Flow", "NotAuthenticatedError", "NotAwaitedError", "Order", "Purchase", "Status"]

_BROKEN_OFF = "The simulator broke off"


class Flow(StrEnum):
    """How the cardholder is authenticated."""

    FRICTIONLESS = "frictionless"
    """Not at all: the ruleset sees little risk."""
    SMS_OTP = "sms-otp"
    """By a password that D1 sends by SMS."""
    SMS_OTP_ISSUER = "sms-otp-issuer"
    """By a password that D1 has the issuer send."""
    OOB = "oob"
    """With the authenticator that D1's SDK enrolled in the issuer's app."""
    OOB_ISSUER = "oob-issuer"
    """By the issuer's own means."""


_OPERATIONS = {
    Flow.FRICTIONLESS: ThreeDSOperation.FRICTIONLESS,
    Flow.SMS_OTP: ThreeDSOperation.CHALLENGE_OTP_SMS,
    Flow.SMS_OTP_ISSUER: ThreeDSOperation.CHALLENGE_OTP_SMS,
    Flow.OOB: ThreeDSOperation.CHALLENGE_OOB,
    Flow.OOB_ISSUER: ThreeDSOperation.CHALLENGE_OOB_ISSUER,
}


class Status(StrEnum):
    """How far a purchase has come."""

    RUNNING = "RUNNING"
    """D1 is at work."""
    AWAITS_OTP = "AWAITS_OTP"
    """The consumer has to type a password in."""
    AWAITS_DECISION = "AWAITS_DECISION"
    """The consumer has to approve or deny in the app."""
    SUCCESSFUL = "SUCCESSFUL"
    FAILED = "FAILED"


class Entry(StrEnum):
    """What the consumer did."""

    RIGHT = "right"
    """Typed the right password in, or approved."""
    RESEND = "resend"
    """Wants another password."""
    SPENT = "spent"
    """Typed wrong passwords in until none was left."""
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Order:
    """What is bought, and how long D1 waits for what."""

    card_id: str
    flow: Flow
    amount: int = 1999
    """In minor units of the currency."""
    currency: Currency = EUR
    merchant: str = "Books and More"
    by_card: bool = False
    """Whether D1 names the card where it asks about a consumer: personal data were tied to cards at onboarding."""
    otp_seconds: float = contract.OTP_LIFETIME_SECONDS
    """How long a password can be typed in."""
    decision_seconds: float = contract.DECISION_SECONDS
    """How long a consumer may take to approve or deny with D1's authenticator."""
    poll_seconds: float = contract.POLL_SECONDS
    """The pause before each question for the issuer's result."""
    poll_limit_seconds: float = contract.POLL_LIMIT_SECONDS
    """How long the issuer's result is asked for."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the notification of the end went."""

    status: int | None
    """What the edge answered; None if it never took it."""
    error: str | None = None


class NotAwaitedError(Exception):
    """Nothing of the kind is awaited of the consumer now."""


class NotAuthenticatedError(Exception):
    """The cardholder is not authenticated. The text says why, to people."""


@dataclass(eq=False, slots=True)
class Purchase:
    """A purchase.

    Its consumer acts through `type_otp`, `resend`, `approve` and `deny`; everything else in it is changed by D1.
    """

    order: Order
    card: Card
    """As it stood at the start."""
    start_time: datetime
    purchase_id: str = field(default_factory=lambda: f"pur_{secrets.token_hex(16)}")
    operation_id: str = field(default_factory=new_operation_id)
    """Under which D1 keeps and notifies the operation."""
    details: dict[str, str] = field(default_factory=new_details)
    calls: list[MadeCall] = field(default_factory=list)
    """The questions that the edge was asked, in their order."""
    status: Status = Status.RUNNING
    error: str | None = None
    """Why it failed, in words for people."""
    delivery: Delivery | None = None
    """How the notification of the end went; None before."""
    otp_attempts_left: int = contract.OTP_ATTEMPTS
    _otp: str = field(default="", init=False, repr=False)
    _entry: "asyncio.Future[Entry] | None" = field(default=None, init=False, repr=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    @property
    def consumer_id(self) -> str:
        """Whose card it is."""
        return self.card.details.consumer_id

    @property
    def failed_checks(self) -> list[str]:
        """What was wrong with answers of the edge."""
        return [call.problem for call in self.calls if call.breaks_contract and call.problem is not None]

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in {Status.SUCCESSFUL, Status.FAILED}

    @property
    def rests(self) -> bool:
        """Whether D1 does nothing more by itself: the consumer's turn has come, or the end was notified."""
        return self.delivery is not None or self.status in {Status.AWAITS_OTP, Status.AWAITS_DECISION}

    def operation(self) -> Notification:
        """The operation as D1 keeps and notifies it; for a purchase that is over."""
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
        """Wait until it rests; returns its status."""
        await self._until(lambda: self.rests)
        return self.status

    async def done(self) -> Status:
        """Wait until it is over; returns its status."""
        await self._until(lambda: self.over)
        return self.status

    async def notified(self) -> Delivery:
        """Wait until the end was notified, or given up."""
        await self._until(lambda: self.delivery is not None)
        return self.delivery or Delivery(None)

    def type_otp(self, otp: str) -> bool:
        """Type a password in; tells whether it was right.

        Raises:
            NotAwaitedError: None is awaited.
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
        """Ask for another password; the earlier one is then worth nothing.

        Raises:
            NotAwaitedError: None is awaited.
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
        """Wait, as D1, for a password to be typed in.

        Raises:
            NotAuthenticatedError: It expired.
        """
        self._otp = otp
        return await self._entered(Status.AWAITS_OTP, self.order.otp_seconds, "The OTP expired")

    async def decided(self) -> Entry:
        """Wait, as D1, for the decision in the app.

        Raises:
            NotAuthenticatedError: It did not come in time.
        """
        return await self._entered(Status.AWAITS_DECISION, self.order.decision_seconds, "The consumer did not decide")

    def end(self, error: str | None) -> None:
        """End it, as D1: in success, or for the reason given."""
        self.error = error
        self._set(Status.SUCCESSFUL if error is None else Status.FAILED)

    def deliver(self, delivery: Delivery) -> None:
        """Note, as D1, how the notification went."""
        self.delivery = delivery
        self._change()

    def break_off(self) -> None:
        """Have nobody wait for ever, though D1 stops in the middle; does nothing to what is done."""
        if not self.over:
            self.end(_BROKEN_OFF)
        if self.delivery is None:
            self.deliver(Delivery(None, _BROKEN_OFF))

    async def _entered(self, status: Status, seconds: float, too_late: str) -> Entry:
        entry: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._entry = entry
        self._set(status)
        # Not a timeout that cancels: what was entered in the last moment counts.
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
        # At once, not when D1 wakes: whoever looks next sees that the consumer's turn is over.
        self._entry = None
        self._otp = ""
        self._set(Status.RUNNING)

    def _set(self, status: Status) -> None:
        self.status = status
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()
