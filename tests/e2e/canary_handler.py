"""A handler of D1's callbacks with selectable failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

import grpc

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.consumer.v1 import authentication_pb2 as authentication
from sandbox.handler import Handler
from tests.e2e.canary_edge import KINDS
from tests.e2e.canary_media import Evidence
from tests.e2e.canary_requests import credentials, person, poisoned
from tests.e2e.canary_values import Canaries

__all__ = ["CanaryHandler", "Manner"]


class Manner(Enum):
    """How the handler replies."""

    WELL = auto()
    ENCRYPTED = auto()
    """With valid data; for cards with data that the handler encrypted itself."""
    WRONGLY = auto()
    """With data that break the contract, with a reply of another kind, and then with an error reply."""
    REFUSING = auto()
    """With a text for D1."""
    SILENTLY = auto()
    """Never."""


@dataclass(slots=True)
class CanaryHandler:
    """Replies in the current manner, with canaries."""

    canaries: Canaries
    manner: Manner
    connected: Handler = field(init=False)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, channel: grpc.aio.Channel, evidence: Evidence, manner: Manner = Manner.WELL
    ) -> AsyncIterator[Self]:
        handler = cls(evidence.canaries, manner)
        responders = dict.fromkeys(KINDS, handler._respond)
        async with Handler.connect(channel, responders, max_in_flight=64) as handler.connected:
            yield handler
            for acknowledgement in handler.connected.acknowledgements:
                evidence.add_violations(acknowledgement)

    async def _respond(self, request: callback.CallbackRequest) -> callback.CallbackReply | None:
        kind = request.WhichOneof("request") or ""
        match self.manner:
            case Manner.WELL | Manner.ENCRYPTED:
                return callback.CallbackReply(**{kind: self._good(kind)})
            case Manner.REFUSING:
                return _not_found(self.canaries["text of an error reply"])
            case Manner.WRONGLY:
                await self._reply_wrongly(request, kind)
                return _not_found("")
            case Manner.SILENTLY:
                return None

    async def _reply_wrongly(self, request: callback.CallbackRequest, kind: str) -> None:
        text = self.canaries.all()
        other = "card_credentials" if kind != "card_credentials" else "consumer_information"
        for reply in (
            callback.CallbackReply(**{kind: poisoned(self._good(kind), text)}),
            callback.CallbackReply(**{other: self._good(other)}),
            callback.CallbackReply(
                refusal=replies.CallbackRefusal(reason=replies.CALLBACK_REFUSAL_REASON_FAILED, message=text)
            ),
        ):
            # A message without fields cannot be invalid.
            if reply.WhichOneof("response") != "deliver_otp":
                reply.token = request.token
                await self.connected.reply(reply)

    def _good(self, kind: str) -> Any:
        canaries = self.canaries
        match kind:
            case "consumer_information":
                return replies.ConsumerInformationResponse(personal_information=person(canaries))
            case "deliver_otp":
                return replies.DeliverOtpResponse()
            case "authenticate":
                return replies.AuthenticateConsumerResponse(authentication_id="push_9")
            case "authentication_result":
                status = authentication.AUTHENTICATION_STATUS_FAILED
                return replies.AuthenticationResultResponse(status=status, error=canaries["error of a result"])
            case _ if self.manner is Manner.ENCRYPTED:
                return replies.CardCredentialsResponse(encrypted_data=canaries["JWE of a handler"])
            case _:
                holder, known = canaries["name of a handler"], credentials(canaries["PAN of a handler"], 2031)
                details = replies.CardDetails(credentials=known, name=holder, cvv=canaries["CVV"])
                return replies.CardCredentialsResponse(details=details)


def _not_found(message: str) -> callback.CallbackReply:
    return callback.CallbackReply(
        refusal=replies.CallbackRefusal(reason=replies.CALLBACK_REFUSAL_REASON_NOT_FOUND, message=message)
    )
