"""The 3DS notification: parsed once, serialised once, on disk before it is answered."""

import time

from aiohttp import web

from gateway import correlation
from gateway.edge.answers import no_content
from gateway.edge.errors import Refusal
from gateway.edge.parsing import CARD_ID, CONSUMER_ID, OPERATION_ID, Fields, parse_time, read_json
from gateway.issuers import Issuers
from gateway.ports import Appendable, Event
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds

__all__ = ["PATH", "ThreeDSNotifications", "parse_operation"]

PATH = "/notifications/d1/v1/issuers/{issuerId}/cards/{cardId}/3ds/notifications"
"""Where D1 posts it (D1 API: outbound 3DS API)."""

_TYPES = {
    "3DS_" + name.removeprefix("OPERATION_TYPE_"): number
    for name, number in threeds.OperationType.items()
    if number != threeds.OPERATION_TYPE_UNSPECIFIED
}
_STATUSES = {
    name.removeprefix("OPERATION_STATUS_"): number
    for name, number in threeds.OperationStatus.items()
    if number != threeds.OPERATION_STATUS_UNSPECIFIED
}
_MAX_WORD = 64
_MAX_ERROR = 4096


class ThreeDSNotifications:
    """Takes 3DS notifications into the log."""

    def __init__(self, issuers: Issuers, log: Appendable) -> None:
        self._issuers = issuers
        self._log = log

    async def post(self, request: web.Request) -> web.Response:
        """Answer 204 once the notification is on disk; a duplicate is answered 204 and not stored again.

        Raises:
            Refusal: 404 for an unknown issuer, 400, 415 for what is no notification.
            GatewayError: EVENT_LOG_UNAVAILABLE; nothing was stored, D1 sends it again.
        """
        issuer_id = request.match_info["issuerId"]
        card_id = request.match_info["cardId"]
        if issuer_id not in self._issuers:
            raise Refusal(404, "unknown issuerId")
        if CARD_ID.fullmatch(card_id) is None:
            raise Refusal(400, f"cardId must match {CARD_ID.pattern}")
        fields = await read_json(request)
        receive_time_ns = time.time_ns()
        taken = notification.Notification(issuer_id=issuer_id, card_id=card_id, correlation_id=correlation.current())
        # As FromNanoseconds would, at a third of its cost.
        taken.receive_time.seconds, taken.receive_time.nanos = divmod(receive_time_ns, 1_000_000_000)
        operation = taken.three_ds_operation
        parse_operation(fields, operation)
        await self._log.append(
            Event(
                issuer_id=issuer_id,
                card_id=card_id,
                operation_id=operation.operation_id,
                consumer_id=operation.consumer_id,
                operation_type=operation.type,
                status=operation.status,
                receive_time_ms=receive_time_ns // 1_000_000,
                payload=taken.SerializeToString(),
            )
        )
        return no_content()


def parse_operation(fields: Fields, operation: threeds.Operation) -> None:
    """Read a 3DS operation (D1 API: 3DS operation, the same in notifications and in the history).

    Args:
        fields: What D1 sent.
        operation: Where it goes; filled in place, because a message is copied when it is put into another.

    Raises:
        Refusal: 400, naming the field that is missing or malformed.
    """
    operation_text = fields.text("operation", max_length=_MAX_WORD, required=True)
    status_text = fields.text("status", max_length=_MAX_WORD, required=True)
    start_time_text = fields.text("startTime", max_length=64, required=True)
    operation.operation_id = fields.identifier("operationId", OPERATION_ID, required=True)
    operation.type = _TYPES.get(operation_text, threeds.OPERATION_TYPE_UNSPECIFIED)
    operation.operation_text = operation_text
    operation.status = _STATUSES.get(status_text, threeds.OPERATION_STATUS_UNSPECIFIED)
    operation.status_text = status_text
    operation.start_time_text = start_time_text
    operation.consumer_id = fields.identifier("consumerId", CONSUMER_ID)
    operation.error = fields.text("error", max_length=_MAX_ERROR)
    time = parse_time(start_time_text)
    if time is not None:
        operation.start_time.seconds, operation.start_time.nanos = time
    details = fields.nested("details")
    if details is not None:
        _parse_details(details, operation.details)
    if fields:
        fields.rest_into(operation.unrecognized)


def _parse_details(fields: Fields, details: threeds.OperationDetails) -> None:
    details.SetInParent()
    details.acs_transaction_id = fields.text("acsTransactionId", max_length=_MAX_WORD)
    details.three_ds_server_trans_id = fields.text("threeDSServerTransId", max_length=_MAX_WORD)
    if fields:
        fields.rest_into(details.unrecognized)
