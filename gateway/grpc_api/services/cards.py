"""CardService: forwards each rpc to the card platform."""

from gateway.grpc_api.interceptors.chain import Context
from gateway.grpc_api.interceptors.context import outbound
from gateway.ports import CardIssuer
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc

__all__ = ["CardServicer"]


class CardServicer(service_pb2_grpc.CardServiceServicer):
    """See ``issuer/card/v1/service.proto`` for the contract of each rpc."""

    def __init__(self, cards: CardIssuer) -> None:
        self._cards = cards

    async def CreateCard(self, request: card.CreateCardRequest, context: Context) -> card.CreateCardResponse:
        """Create a card."""
        return await self._cards.create_card(request, outbound(request.issuer_id, context))

    async def RegisterCard(self, request: card.RegisterCardRequest, context: Context) -> card.RegisterCardResponse:
        """Register a card."""
        return await self._cards.register_card(request, outbound(request.issuer_id, context))

    async def RenewCard(self, request: card.RenewCardRequest, context: Context) -> card.RenewCardResponse:
        """Renew a card."""
        return await self._cards.renew_card(request, outbound(request.issuer_id, context))

    async def ReplaceCard(self, request: card.ReplaceCardRequest, context: Context) -> card.ReplaceCardResponse:
        """Replace a card."""
        return await self._cards.replace_card(request, outbound(request.issuer_id, context))

    async def DeleteCard(self, request: card.DeleteCardRequest, context: Context) -> card.DeleteCardResponse:
        """Delete a card."""
        return await self._cards.delete_card(request, outbound(request.issuer_id, context))

    async def SuspendCard(self, request: card.SuspendCardRequest, context: Context) -> card.SuspendCardResponse:
        """Suspend a card."""
        return await self._cards.suspend_card(request, outbound(request.issuer_id, context))

    async def ResumeCard(self, request: card.ResumeCardRequest, context: Context) -> card.ResumeCardResponse:
        """Resume a card."""
        return await self._cards.resume_card(request, outbound(request.issuer_id, context))
