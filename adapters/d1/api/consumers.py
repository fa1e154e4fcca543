"""Consumers at D1 (D1 API: inbound consumer API) and their authenticators."""

from typing import Any

from adapters.d1.api import endpoints
from adapters.d1.api.client import D1Client
from adapters.d1.api.endpoints import DEFAULT_REASON_CODE, body, nested
from gateway.ports import Call
from issuer.consumer.v1 import messages_pb2 as consumer

__all__ = ["D1Authenticators", "D1Consumers"]


class D1Consumers:
    """Consumers at D1; `gateway.ports.Consumers` documents each method and its errors."""

    def __init__(self, client: D1Client) -> None:
        self._client = client

    async def register_consumer(
        self, request: consumer.RegisterConsumerRequest, call: Call
    ) -> consumer.RegisterConsumerResponse:
        """Register a consumer, or update a registered one. Idempotent."""
        has_information = request.HasField("personal_information")
        content = body(personal_information=nested(request.personal_information) if has_information else None)
        await self._client.call(
            endpoints.REGISTER_CONSUMER, call, content, user_id=request.user_id, consumer_id=request.consumer_id
        )
        return consumer.RegisterConsumerResponse()

    async def delete_consumer(
        self, request: consumer.DeleteConsumerRequest, call: Call
    ) -> consumer.DeleteConsumerResponse:
        """Delete a consumer permanently."""
        await self._client.call(endpoints.DELETE_CONSUMER, call, _decision(request), consumer_id=request.consumer_id)
        return consumer.DeleteConsumerResponse()


class D1Authenticators:
    """Authenticators at D1; `gateway.ports.Authenticators` documents each method and its errors."""

    def __init__(self, client: D1Client) -> None:
        self._client = client

    async def delete_authenticator(
        self, request: consumer.DeleteAuthenticatorRequest, call: Call
    ) -> consumer.DeleteAuthenticatorResponse:
        """Delete the authenticator of one installation of the issuer's app (D1: Delete Authenticator Credentials)."""
        await self._client.call(
            endpoints.DELETE_CREDENTIALS, call, _decision(request), app_instance_id=request.app_instance_id
        )
        return consumer.DeleteAuthenticatorResponse()


def _decision(request: consumer.DeleteAuthenticatorRequest | consumer.DeleteConsumerRequest) -> dict[str, Any]:
    return body(reason=request.reason, reason_code=request.reason_code or DEFAULT_REASON_CODE)
