"""ThreeDSOperationService: forwards each rpc to the history at the card platform."""

from gateway.formats.page_tokens import PageTokens
from gateway.grpc_api.interceptors.chain import Context
from gateway.grpc_api.interceptors.context import caller_identity, outbound
from gateway.history import pagination
from gateway.ports import OperationHistory
from issuer.threeds.v1 import history_pb2, service_pb2_grpc

__all__ = ["ThreeDSOperationServicer"]

_DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE = 10, 50


class ThreeDSOperationServicer(service_pb2_grpc.ThreeDSOperationServiceServicer):
    """See ``issuer/threeds/v1/service.proto`` for the contract of each rpc."""

    def __init__(self, history: OperationHistory) -> None:
        self._history = history

    async def ListThreeDSOperations(
        self, request: history_pb2.ListThreeDSOperationsRequest, context: Context
    ) -> history_pb2.ListThreeDSOperationsResponse:
        """List a card's operations."""
        call = outbound(request.issuer_id, context)
        page_size = min(request.page_size or _DEFAULT_PAGE_SIZE, _MAX_PAGE_SIZE)
        tokens = PageTokens("ListThreeDSOperations", (caller_identity(), request.issuer_id, request.card_id))
        return await pagination.read_page(self._history, request.card_id, page_size, request.page_token, tokens, call)

    async def GetThreeDSOperation(
        self, request: history_pb2.GetThreeDSOperationRequest, context: Context
    ) -> history_pb2.GetThreeDSOperationResponse:
        """Get one operation."""
        call = outbound(request.issuer_id, context)
        operation = await self._history.get_operation(request.card_id, request.operation_id, call)
        return history_pb2.GetThreeDSOperationResponse(operation=operation)
