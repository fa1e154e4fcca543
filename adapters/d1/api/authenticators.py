"""The 3DS authenticators at D1 (D1 API: application instance): the port `gateway.ports.Authenticators`."""

from adapters.d1.api import endpoints
from adapters.d1.api.client import D1Client
from adapters.d1.api.request_bodies import decision
from gateway.ports import Call
from issuer.consumer.v1 import messages_pb2 as consumer

__all__ = ["D1Authenticators"]


class D1Authenticators:
    """Authenticators at D1. What each method means, and what it raises, stands at `gateway.ports.Authenticators`."""

    def __init__(self, client: D1Client) -> None:
        """Work through a client that outlives this."""
        self._client = client

    async def delete_credentials(
        self, request: consumer.DeleteCredentialsRequest, call: Call
    ) -> consumer.DeleteCredentialsResponse:
        """Remove the authenticator of one installation of the issuer's app."""
        await self._client.call(
            endpoints.DELETE_CREDENTIALS, call, decision(request), app_instance_id=request.app_instance_id
        )
        return consumer.DeleteCredentialsResponse()
