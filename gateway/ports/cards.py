"""The card life cycle at the card platform, and what every call to it carries."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from issuer.callback.v1 import replies_pb2
from issuer.card.v1 import messages_pb2 as card

__all__ = ["Call", "CardDataEncryption", "CardIssuer"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a call to an upstream needs to know of the rpc that causes it."""

    issuer_id: str
    """The issuer on whose behalf the call is made."""
    correlation_id: str
    """Sent to the upstream as ``x-correlation-id``, and part of every log line."""
    deadline: float | None = None
    """The caller's deadline, in seconds of the event loop's clock; None if there is none."""
    is_background: bool = False
    """Whether it waits behind all other calls, and is not retried: its caller tries again later."""

    def remaining_seconds(self) -> float | None:
        """Return the time left, never less than 0; None without a deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


class CardIssuer(Protocol):
    """The card life cycle at the card platform.

    Every method returns after the platform's successful response. Otherwise it raises `gateway.errors.GatewayError`,
    whose outcome says whether the platform may have acted.
    """

    async def create_card(self, request: card.CreateCardRequest, call: Call) -> card.CreateCardResponse:
        """Create a card. Not idempotent."""
        ...

    async def register_card(self, request: card.RegisterCardRequest, call: Call) -> card.RegisterCardResponse:
        """Register a card under the caller's id. Idempotent."""
        ...

    async def renew_card(self, request: card.RenewCardRequest, call: Call) -> card.RenewCardResponse:
        """Renew a card with a new expiry, and optionally a new id."""
        ...

    async def replace_card(self, request: card.ReplaceCardRequest, call: Call) -> card.ReplaceCardResponse:
        """Replace a card with one that has a new PAN."""
        ...

    async def delete_card(self, request: card.DeleteCardRequest, call: Call) -> card.DeleteCardResponse:
        """Delete a card permanently."""
        ...

    async def suspend_card(self, request: card.SuspendCardRequest, call: Call) -> card.SuspendCardResponse:
        """Suspend an active card."""
        ...

    async def resume_card(self, request: card.ResumeCardRequest, call: Call) -> card.ResumeCardResponse:
        """Resume a suspended card."""
        ...


class CardDataEncryption(Protocol):
    """Encrypts card data for the card platform."""

    def encrypt(self, issuer_id: str, details: replies_pb2.CardDetails) -> str:
        """Encrypt a card's details for a configured issuer; returns a compact JWE."""
        ...
