"""Consumers at the card platform, and their authenticators."""

from typing import Protocol

from gateway.ports.cards import Call
from issuer.consumer.v1 import messages_pb2 as consumer

__all__ = ["Authenticators", "Consumers"]


class Consumers(Protocol):
    """Consumers at the card platform. Raises as `gateway.ports.CardIssuer` does."""

    async def register_consumer(
        self, request: consumer.RegisterConsumerRequest, call: Call
    ) -> consumer.RegisterConsumerResponse:
        """Register a consumer, or update a registered one. Idempotent."""
        ...

    async def delete_consumer(
        self, request: consumer.DeleteConsumerRequest, call: Call
    ) -> consumer.DeleteConsumerResponse:
        """Delete a consumer permanently."""
        ...


class Authenticators(Protocol):
    """Consumers' 3DS authenticators at the card platform. Raises as `gateway.ports.CardIssuer` does."""

    async def delete_authenticator(
        self, request: consumer.DeleteAuthenticatorRequest, call: Call
    ) -> consumer.DeleteAuthenticatorResponse:
        """Delete the authenticator of one installation of the issuer's app."""
        ...
