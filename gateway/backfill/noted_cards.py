"""Notes the cards that are changed through the gateway: they are active, though no notification names them yet."""

from collections.abc import Callable

from gateway.ports import Call, CardIssuer
from issuer.card.v1 import messages_pb2 as card

__all__ = ["NotedCards"]


class NotedCards:
    """A `gateway.ports.CardIssuer` that tells of each successful change but a deletion."""

    def __init__(self, cards: CardIssuer, note: Callable[[str, str], None]) -> None:
        """Wrap the port.

        Args:
            cards: The port.
            note: Called with the ids of the issuer and of the card, the new one if the change gave it one.
        """
        self._cards = cards
        self._note = note

    async def create_card(self, request: card.CreateCardRequest, call: Call) -> card.CreateCardResponse:
        """See `CardIssuer`."""
        response = await self._cards.create_card(request, call)
        self._note(call.issuer_id, response.card_id)
        return response

    async def register_card(self, request: card.RegisterCardRequest, call: Call) -> card.RegisterCardResponse:
        """See `CardIssuer`."""
        response = await self._cards.register_card(request, call)
        self._note(call.issuer_id, request.card_id)
        return response

    async def renew_card(self, request: card.RenewCardRequest, call: Call) -> card.RenewCardResponse:
        """See `CardIssuer`."""
        response = await self._cards.renew_card(request, call)
        self._note_successor(request, response, call)
        return response

    async def replace_card(self, request: card.ReplaceCardRequest, call: Call) -> card.ReplaceCardResponse:
        """See `CardIssuer`."""
        response = await self._cards.replace_card(request, call)
        self._note_successor(request, response, call)
        return response

    async def delete_card(self, request: card.DeleteCardRequest, call: Call) -> card.DeleteCardResponse:
        """See `CardIssuer`."""
        return await self._cards.delete_card(request, call)

    async def suspend_card(self, request: card.SuspendCardRequest, call: Call) -> card.SuspendCardResponse:
        """See `CardIssuer`."""
        response = await self._cards.suspend_card(request, call)
        self._note(call.issuer_id, request.card_id)
        return response

    async def resume_card(self, request: card.ResumeCardRequest, call: Call) -> card.ResumeCardResponse:
        """See `CardIssuer`."""
        response = await self._cards.resume_card(request, call)
        self._note(call.issuer_id, request.card_id)
        return response

    def _note_successor(
        self,
        request: card.RenewCardRequest | card.ReplaceCardRequest,
        response: card.RenewCardResponse | card.ReplaceCardResponse,
        call: Call,
    ) -> None:
        self._note(call.issuer_id, request.card_id)
        self._note(call.issuer_id, response.card_id or request.new_card_id or request.card_id)
