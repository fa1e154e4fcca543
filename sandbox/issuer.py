"""The issuer's services of a sandbox: a handler that answers all of D1's callbacks, and an app with push requests."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import grpc

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.common.v1.card_data_pb2 import CardCredentials, CardExpiry
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceStub
from sandbox.common.answers import Answer
from sandbox.common.faults import EVERY_ANSWER, HANDLER, Drop, Fault, Faults
from sandbox.d1.acs.challenges import Phones, Sms
from sandbox.d1.acs.purchase import Entry, NotAuthenticatedError, Purchase
from sandbox.d1.acs.purchases import Purchases
from sandbox.d1.callbacks.background import Background
from sandbox.d1.model.errors import D1Error
from sandbox.d1.model.store import CardStore
from sandbox.handler import Handler, Responder

if TYPE_CHECKING:  # The async stubs exist for type checkers only.
    from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceAsyncStub

__all__ = ["REFUSALS", "Issuer"]

REFUSALS: "Final[Mapping[int, replies.CallbackRefusalReason.ValueType]]" = MappingProxyType(
    {
        400: replies.CALLBACK_REFUSAL_REASON_INVALID,
        403: replies.CALLBACK_REFUSAL_REASON_NOT_ALLOWED,
        404: replies.CALLBACK_REFUSAL_REASON_NOT_FOUND,
        500: replies.CALLBACK_REFUSAL_REASON_FAILED,
    }
)
"""The refusals by the HTTP status that D1 gets."""

_NAME: Final = "sandbox"
_LANGUAGE, _COUNTRY, _NUMBER = "en-GB", "+44", "7700900123"
"""Of every consumer. The number is one of those that Ofcom keeps for films."""
_BIN: Final = "497010"
_CVV: Final = "123"
_YEARS: Final = 4
"""How long a new card is valid."""
_CALL_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.2
_SETTLING_SECONDS: Final = 5.0


class Issuer:
    """Answers callbacks of the chosen kinds, as soon as `run` has a gateway to connect to."""

    def __init__(
        self,
        cards: CardStore,
        purchases: Purchases,
        phones: Phones,
        background: Background,
        faults: Faults,
        clock: Callable[[], float],
    ) -> None:
        """Choose all kinds.

        Args:
            cards: The cards, whose numbers the issuer knows.
            purchases: The purchases that callbacks are about; their consumers decide in the app.
            phones: The recipients of SMS.
            background: Runs what follows a callback.
            faults: The faults on demand that it has.
            clock: Returns the time, in seconds since 1970 (UTC).
        """
        self._cards = cards
        self._purchases = purchases
        self._phones = phones
        self._background = background
        self._faults = faults
        self._clock = clock
        self._responders: Mapping[str, Responder] = {
            "consumer_information": self._tell_person,
            "deliver_otp": self._send_sms,
            "authenticate": self._push,
            "authentication_result": self._tell_result,
            "card_credentials": self._tell_credentials,
        }
        self._results: dict[str, authentication.AuthenticationStatus.ValueType] = {}
        """The status of each authentication in the app."""
        self.kinds: tuple[str, ...] = self.all_kinds
        """The kinds to answer; `answer` changes them."""
        self.answered: tuple[str, ...] = ()
        """The kinds for which it is registered at the gateway."""
        self._consumers: ConsumerServiceAsyncStub | None = None
        self._changed = asyncio.Condition()
        self.on_answer: Callable[[Answer], None] = lambda _: None
        """Called when a callback request comes, and when its reply goes."""

    @property
    def all_kinds(self) -> tuple[str, ...]:
        """The kinds that it can answer."""
        return tuple(self._responders)

    async def answer(self, kinds: Iterable[str]) -> None:
        """Answer these kinds from now on; return when the gateway knows, if it is there."""
        chosen = set(kinds)
        async with self._changed:
            self.kinds = tuple(kind for kind in self._responders if kind in chosen)
            self._changed.notify_all()
            if self._consumers is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SETTLING_SECONDS):
                        await self._changed.wait_for(lambda: self.answered == self.kinds)

    async def until_settled(self) -> None:
        """Wait until it is registered for the kinds to answer, at the gateway that `run` has."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.answered == self.kinds)

    def responders(self, channel: grpc.aio.Channel) -> Mapping[str, Responder]:
        """Return what answers each kind, for a handler of another name; results of the app go over the channel."""
        self._consumers = ConsumerServiceStub(channel)
        return {kind: partial(self._answer, kind) for kind in self._responders}

    def send_otp(self, otp: str, purchase_id: str) -> None:
        """Send an OTP by SMS.

        Args:
            otp: The OTP.
            purchase_id: The purchase that it confirms, or the 3DS Server Transaction ID.
        """
        text = f"Your bank: {otp} confirms your purchase. Never tell it to anybody."
        sent = datetime.fromtimestamp(self._clock(), UTC)
        self._phones.receive(Sms(f"{_COUNTRY}{_NUMBER}", _LANGUAGE, text, otp, purchase_id, sent))

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Stay connected to a gateway, also when it starts again, until cancelled."""
        responders = self.responders(channel)
        try:
            while True:
                kinds = self.kinds
                with suppress(grpc.aio.AioRpcError):  # The gateway is down, or ends.
                    await self._stay(channel, {kind: responders[kind] for kind in kinds})
                await self._set_answered(())
                if kinds == self.kinds:
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            # Its channel may be closed before the last consumer has decided.
            self._consumers = None

    async def _stay(self, channel: grpc.aio.Channel, chosen: Mapping[str, Responder]) -> None:
        """Be connected until other kinds are chosen, or the gateway ends."""
        kinds = tuple(chosen)
        if not kinds:
            await self._set_answered(kinds)
            await self._other(kinds)
            return
        async with Handler.connect(channel, chosen, name=_NAME) as handler:
            await self._set_answered(kinds)
            await _first_of(handler.until(lambda each: each.is_over or each.is_draining), self._other(kinds))

    async def _other(self, kinds: tuple[str, ...]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.kinds != kinds)

    async def _set_answered(self, kinds: tuple[str, ...]) -> None:
        async with self._changed:
            self.answered = kinds
            self._changed.notify_all()

    async def _answer(self, kind: str, request: callback.CallbackRequest) -> callback.CallbackReply | None:
        answer = Answer(kind, request.correlation_id, self._clock())
        fault = self._faults.take(HANDLER + kind, EVERY_ANSWER)
        answer.fault = None if fault is None else fault.what
        began = asyncio.get_running_loop().time()
        self.on_answer(answer)
        respond = self._responders[kind]
        reply = await (respond(request) if fault is None else _faulty(fault, respond, request))
        if reply is None:
            return None
        answer.milliseconds = (asyncio.get_running_loop().time() - began) * 1000
        answer.refused = reply.WhichOneof("response") == "refusal"
        self.on_answer(answer)
        return reply

    async def _tell_person(self, _: callback.CallbackRequest) -> callback.CallbackReply:
        phone = personal.PhoneNumber(country_code=_COUNTRY, phone_number=_NUMBER)
        person = personal.PersonalInformation(language=_LANGUAGE, mobile_phone_number=phone)
        return callback.CallbackReply(
            consumer_information=replies.ConsumerInformationResponse(personal_information=person)
        )

    async def _send_sms(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        purchase = self._purchase(request.deliver_otp.transaction.acs_trans_id)
        self.send_otp(request.deliver_otp.otp, "" if purchase is None else purchase.purchase_id)
        return callback.CallbackReply(deliver_otp=replies.DeliverOtpResponse())

    async def _push(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        purchase = self._purchase(request.authenticate.transaction.acs_trans_id)
        if purchase is None:
            return _refusal(replies.CALLBACK_REFUSAL_REASON_NOT_FOUND)
        # One authentication for each purchase: its id will do.
        self._results[purchase.purchase_id] = authentication.AUTHENTICATION_STATUS_PENDING
        self._background.start(self._decided(purchase), f"push of {purchase.purchase_id}")
        return callback.CallbackReply(
            authenticate=replies.AuthenticateConsumerResponse(authentication_id=purchase.purchase_id)
        )

    async def _decided(self, purchase: Purchase) -> None:
        """Wait for the consumer's decision in the app, and report it: D1 may have asked, and wait."""
        try:
            approved = await purchase.decided() is Entry.RIGHT
        except NotAuthenticatedError:
            approved = False
        status = authentication.AUTHENTICATION_STATUS_FAILED
        if approved:
            status = authentication.AUTHENTICATION_STATUS_SUCCESSFUL
        self._results[purchase.purchase_id] = status
        result = authentication.AuthenticationResult(authentication_id=purchase.purchase_id, status=status)
        request = consumer.CompleteAuthenticationRequest(consumer_id=purchase.consumer_id, result=result)
        if self._consumers is not None:
            # Without it, D1 learns the result at its next request.
            with suppress(grpc.aio.AioRpcError):
                await self._consumers.CompleteAuthentication(request, timeout=_CALL_SECONDS)

    async def _tell_result(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        status = self._results.get(request.authentication_result.authentication_id)
        if status is None:
            return _refusal(replies.CALLBACK_REFUSAL_REASON_NOT_FOUND)
        return callback.CallbackReply(authentication_result=replies.AuthenticationResultResponse(status=status))

    async def _tell_credentials(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        try:
            known = self._cards.card(request.card_credentials.card_id).details.credentials
        except D1Error:
            return _refusal(replies.CALLBACK_REFUSAL_REASON_NOT_FOUND)
        # A renewed card keeps its number, a replaced one gets another.
        pan = f"{_BIN}{secrets.randbelow(10**10):010d}" if known is None else known.pan
        expiry = CardExpiry(month=12, year=datetime.fromtimestamp(self._clock(), UTC).year + _YEARS)
        details = replies.CardDetails(credentials=CardCredentials(pan=pan, expiry=expiry), cvv=_CVV)
        return callback.CallbackReply(card_credentials=replies.CardCredentialsResponse(details=details))

    def _purchase(self, acs_transaction_id: str) -> Purchase | None:
        return next(
            (each for each in self._purchases.all() if each.details["acsTransactionId"] == acs_transaction_id), None
        )


async def _faulty(fault: Fault, respond: Responder, request: callback.CallbackRequest) -> callback.CallbackReply | None:
    await asyncio.sleep(fault.latency_ms / 1000)
    if fault.drop is Drop.BEFORE:
        return None
    if fault.status is not None:
        return _refusal(REFUSALS[fault.status])
    reply = await respond(request)
    return None if fault.drop is Drop.AFTER else reply


def _refusal(reason: "replies.CallbackRefusalReason.ValueType") -> callback.CallbackReply:
    return callback.CallbackReply(refusal=replies.CallbackRefusal(reason=reason))


async def _first_of(*waits: Coroutine[Any, Any, None]) -> None:
    """Run until one of several ends, and cancel the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
