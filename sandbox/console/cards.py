"""Changes cards for the console, with calls to the gateway as any service makes them."""

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final, cast

import grpc
from aiohttp import web
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1.error_pb2 import ErrorDetail, ErrorOutcome, ErrorReason
from issuer.threeds.v1.history_pb2 import ListThreeDSOperationsRequest
from issuer.threeds.v1.service_pb2_grpc import ThreeDSOperationServiceStub
from sandbox.common.fields import MalformedBodyError, json_object

__all__ = ["CardCalls", "answered", "explained"]

_CALL_SECONDS: Final = 10.0
_MOST_OPERATIONS: Final = 20
_NOT_DONE: Final = HTTPStatus.UNPROCESSABLE_ENTITY
"""Of every call that the gateway did not confirm; the body says why."""
_REQUESTS: Final = {
    "CreateCard": card.CreateCardRequest,
    "RegisterCard": card.RegisterCardRequest,
    "SuspendCard": card.SuspendCardRequest,
    "ResumeCard": card.ResumeCardRequest,
    "RenewCard": card.RenewCardRequest,
    "ReplaceCard": card.ReplaceCardRequest,
    "DeleteCard": card.DeleteCardRequest,
}


class CardCalls:
    """The calls, over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._cards = CardServiceStub(channel)
        self._operations = ThreeDSOperationServiceStub(channel)

    async def change(self, request: web.Request) -> web.Response:
        """Call the rpc that the path names with the request's fields, as in the contract.

        Raises:
            HTTPNotFound: The console does not offer that rpc.
            MalformedBodyError: The body is no such message.
        """
        rpc = request.match_info["rpc"]
        if rpc not in _REQUESTS:
            raise web.HTTPNotFound
        try:
            message = ParseDict(json_object(await request.read()), _REQUESTS[rpc]())
        except ParseError:
            # Its text quotes the value.
            raise MalformedBodyError from None
        return await answered(getattr(self._cards, rpc)(message, timeout=_CALL_SECONDS))

    async def history(self, request: web.Request) -> web.Response:
        """Return D1's latest 3DS operations of a card."""
        wanted = ListThreeDSOperationsRequest(card_id=request.match_info["cardId"], page_size=_MOST_OPERATIONS)
        return await answered(self._operations.ListThreeDSOperations(wanted, timeout=_CALL_SECONDS))


async def answered(call: Awaitable[Message]) -> web.Response:
    """Return what a call to the gateway returns, or why it failed: reason, outcome, violations."""
    try:
        return web.json_response(MessageToDict(await call, preserving_proto_field_name=True))
    except grpc.aio.AioRpcError as error:
        return web.json_response(explained(error), status=_NOT_DONE)


def explained(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return why a call to the gateway failed, as a JSON object."""
    detail, wrong = ErrorDetail(), BadRequest()
    # The stubs exclude asyncio errors, but the function reads them just as well.
    status = rpc_status.from_call(cast("grpc.Call", error))
    for each in () if status is None else status.details:
        each.Unpack(detail)
        each.Unpack(wrong)
    return {
        "error": error.details() or error.code().name,
        "status": error.code().name,
        "reason": ErrorReason.Name(detail.reason).removeprefix("ERROR_REASON_"),
        # Without details, the gateway was not reached, or its answer was lost.
        "outcome": ErrorOutcome.Name(detail.outcome).removeprefix("ERROR_OUTCOME_"),
        "correlationId": detail.correlation_id,
        "violations": [{"field": each.field, "description": each.description} for each in wrong.field_violations],
    }
