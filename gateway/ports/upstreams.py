"""D1 and the 3-D Secure server, as the gateway calls them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from issuer.callback.v1 import replies_pb2
from issuer.card.v1 import messages_pb2 as card
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.threeds.v1 import areq_pb2, ares_pb2, crd_pb2, operation_pb2, rreq_pb2

__all__ = [
    "Authenticators",
    "Call",
    "CardDataEncryption",
    "CardIssuer",
    "Consumers",
    "HistoryPage",
    "OperationHistory",
    "ThreeDSServer",
]


@dataclass(frozen=True, slots=True)
class Call:
    """What an outbound call has to know of the call that causes it."""

    issuer_id: str
    """The issuer on whose behalf it is made."""
    correlation_id: str
    """Goes to the upstream as ``x-correlation-id`` and into every log line."""
    deadline: float | None = None
    """When the caller stops waiting, in seconds of the event loop's clock; None if it waits as long as it takes."""

    def remaining_seconds(self) -> float | None:
        """Tell how much time is left, never less than 0; None without a deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


class CardIssuer(Protocol):
    """The card life cycle at the issuer's card system (D1).

    Every method returns when the upstream has answered, and raises `gateway.errors.GatewayError` otherwise; its outcome
    tells whether the upstream may have acted.
    """

    async def create_card(self, request: card.CreateCardRequest, call: Call) -> card.CreateCardResponse:
        """Have a card made. Not idempotent."""
        ...

    async def register_card(self, request: card.RegisterCardRequest, call: Call) -> card.RegisterCardResponse:
        """Register a card under the caller's id. Idempotent."""
        ...

    async def renew_card(self, request: card.RenewCardRequest, call: Call) -> card.RenewCardResponse:
        """Tell of a new expiry, perhaps with a new id."""
        ...

    async def replace_card(self, request: card.ReplaceCardRequest, call: Call) -> card.ReplaceCardResponse:
        """Replace a card by one with a new PAN."""
        ...

    async def delete_card(self, request: card.DeleteCardRequest, call: Call) -> card.DeleteCardResponse:
        """Delete a card for good."""
        ...

    async def suspend_card(self, request: card.SuspendCardRequest, call: Call) -> card.SuspendCardResponse:
        """Suspend an active card."""
        ...

    async def resume_card(self, request: card.ResumeCardRequest, call: Call) -> card.ResumeCardResponse:
        """Resume a suspended card."""
        ...


class HistoryPage(NamedTuple):
    """A part of a card's operations."""

    operations: Sequence[operation_pb2.Operation]
    """Newest first."""
    remaining: int
    """How many older ones follow."""


class OperationHistory(Protocol):
    """The 3DS operations of each card, as the card system (D1) keeps them. Raises as `CardIssuer` does."""

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        """List operations, newest first.

        Args:
            card_id: The card.
            offset: How many of the newest to pass over; what is new since the last call counts too.
            limit: How many at most, 1 to 50.
            call: For whom, and until when.
        """
        ...

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.Operation:
        """Get one operation."""
        ...


class Authenticators(Protocol):
    """The 3DS authenticators that consumers have enrolled (at D1). Raises as `CardIssuer` does."""

    async def delete_credentials(
        self, request: consumer.DeleteCredentialsRequest, call: Call
    ) -> consumer.DeleteCredentialsResponse:
        """Remove the authenticator of one installation of the issuer's app."""
        ...


class Consumers(Protocol):
    """The consumers that the card system (D1) knows. Raises as `CardIssuer` does."""

    async def register_consumer(
        self, request: consumer.RegisterConsumerRequest, call: Call
    ) -> consumer.RegisterConsumerResponse:
        """Register a consumer, or change what is kept of one. Idempotent."""
        ...

    async def delete_consumer(
        self, request: consumer.DeleteConsumerRequest, call: Call
    ) -> consumer.DeleteConsumerResponse:
        """Delete a consumer for good."""
        ...


class CardDataEncryption(Protocol):
    """Encrypts what stands on a card for the card system (D1)."""

    def encrypt(self, issuer_id: str, details: replies_pb2.CardDetails) -> str:
        """Encrypt.

        Args:
            issuer_id: Whose card it is; one that is configured.
            details: What stands on it.

        Returns:
            A compact JWE.
        """
        ...


class ThreeDSServer(Protocol):
    """A 3-D Secure server, which speaks with the directory servers and through them with the cards' ACS.

    Every method returns when the server has answered, and raises `gateway.errors.GatewayError` otherwise; its outcome
    tells whether the request may have taken effect. An Erro of any party is such an error, but for those that are an
    answer to what was asked.
    """

    async def lookup(self, acct_number: str, ds: str, call: Call) -> crd_pb2.CRD | None:
        """Ask what the directory server knows of a card. Idempotent: repeated where that can help.

        Args:
            acct_number: The card's account number (PAN).
            ds: The directory server to ask; empty for the one that the number leads to.
            call: For whom, and until when.

        Returns:
            The card range data, with the id of the transaction that was opened; None if the card takes no part.
        """
        ...

    async def authenticate(self, areq: areq_pb2.AReq, call: Call) -> ares_pb2.ARes:
        """Authenticate a cardholder. Not idempotent: never repeated once it was sent.

        Args:
            areq: The request, whole and by the rules of its version, channel and category.
            call: For whom, and until when.

        Returns:
            The answer, which is of the same transaction and version as the request.
        """
        ...

    async def challenge_result(self, three_ds_server_trans_id: str, call: Call) -> rreq_pb2.RReq | None:
        """Get the result of a challenge or a decoupled authentication. Idempotent: repeated where that can help.

        Args:
            three_ds_server_trans_id: The transaction.
            call: For whom, and until when.

        Returns:
            The result, which is of that transaction; None if it has not come yet. A transaction that the server does
            not know is an error: THREE_DS_TRANSACTION_UNKNOWN.
        """
        ...
