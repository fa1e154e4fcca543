"""ConsumerService: forwards each rpc to the card platform, and records authentication results."""

from gateway.callbacks.results import AuthenticationResults
from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Context
from gateway.grpc_api.interceptors.context import outbound
from gateway.ports import Authenticators, Consumers
from issuer.common.v1 import error_pb2
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import service_pb2_grpc

__all__ = ["ConsumerServicer"]


class ConsumerServicer(service_pb2_grpc.ConsumerServiceServicer):
    """See ``issuer/consumer/v1/service.proto`` for the contract of each rpc."""

    def __init__(self, authenticators: Authenticators, consumers: Consumers, results: AuthenticationResults) -> None:
        self._authenticators = authenticators
        self._consumers = consumers
        self._results = results

    async def DeleteAuthenticator(
        self, request: consumer.DeleteAuthenticatorRequest, context: Context
    ) -> consumer.DeleteAuthenticatorResponse:
        """Delete an authenticator."""
        return await self._authenticators.delete_authenticator(request, outbound(request.issuer_id, context))

    async def RegisterConsumer(
        self, request: consumer.RegisterConsumerRequest, context: Context
    ) -> consumer.RegisterConsumerResponse:
        """Register a consumer."""
        return await self._consumers.register_consumer(request, outbound(request.issuer_id, context))

    async def DeleteConsumer(
        self, request: consumer.DeleteConsumerRequest, context: Context
    ) -> consumer.DeleteConsumerResponse:
        """Delete a consumer."""
        return await self._consumers.delete_consumer(request, outbound(request.issuer_id, context))

    async def CompleteAuthentication(
        self, request: consumer.CompleteAuthenticationRequest, context: Context
    ) -> consumer.CompleteAuthenticationResponse:
        """Record the result of an authentication."""
        del context
        final = await self._results.settle(request.issuer_id, request.consumer_id, request.result)
        if final.status != request.result.status:
            raise GatewayError(
                error_pb2.ERROR_REASON_AUTHENTICATION_DECIDED,
                "The authentication already has a different final result.",
            )
        return consumer.CompleteAuthenticationResponse()
