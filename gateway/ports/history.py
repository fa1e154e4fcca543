"""The card platform's history of 3DS operations."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gateway.ports.cards import Call
from issuer.threeds.v1 import operation_pb2

__all__ = ["HistoryPage", "MissedNotifications", "OperationHistory"]


class HistoryPage(NamedTuple):
    """A page of a card's operations."""

    operations: Sequence[operation_pb2.ThreeDSOperation]
    """Newest first."""
    remaining: int
    """Number of older operations; 1 if the platform does not say whether any follow."""


class OperationHistory(Protocol):
    """The 3DS operations of each card at the card platform. Raises as `gateway.ports.CardIssuer` does."""

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        """List a card's operations, newest first.

        Args:
            card_id: The card.
            offset: Number of newest operations to skip, those that are new since the last call included.
            limit: Maximum number of operations, 1 to 50.
            call: Context of the caller.
        """
        ...

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.ThreeDSOperation:
        """Return an operation."""
        ...


class MissedNotifications(Protocol):
    """Takes the cards whose history has to be read, because a notification was not stored as it was meant."""

    def note(self, issuer_id: str, card_id: str) -> "asyncio.Future[None]":
        """Note that a notification of a card was refused, or could not be read. Never blocks, never raises.

        Returns:
            What ends without an error, as soon as the note is stored or that has failed; it is tried again then.
        """
        ...
