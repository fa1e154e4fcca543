"""D1's notifications of operations, on cards (D1 API: outbound 3DS API) and on consumers (outbound consumer API).

Each is parsed once and serialised once; it is on disk before D1 gets a response.
"""

import re
import time
from collections.abc import Container
from typing import NamedTuple

from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.fields import CARD_ID, CONSUMER_ID, Fields
from adapters.d1.callbacks.operations import parse_consumer_operation, parse_operation, state_text
from adapters.d1.callbacks.request import id_in_path, issuer_in_path, read_fields
from gateway.edge.responses import empty_response
from gateway.logging import correlation
from gateway.ports import Appendable, Event, EventKind
from issuer.consumer.v1.operation_pb2 import ConsumerOperation
from issuer.notification.v1.messages_pb2 import Notification
from issuer.threeds.v1.operation_pb2 import ThreeDSOperation

__all__ = ["ConsumerNotifications", "ThreeDSNotifications"]


class ThreeDSNotifications:
    """Appends 3DS notifications to the event log."""

    def __init__(self, issuers: Container[str], log: Appendable) -> None:
        self._issuers = issuers
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post(d1.THREE_DS_NOTIFICATION_PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Respond with 204 once the notification is on disk; a duplicate also gets 204 and is not stored again.

        Raises:
            HttpError: 404 for an unknown issuer; 400 or 415 for a malformed notification.
            FieldError: A field is missing or malformed.
            GatewayError: EVENT_LOG_UNAVAILABLE; nothing was stored, and D1 sends it again.
        """
        arrival = await _receive(request, self._issuers, "cardId", CARD_ID)
        operation = arrival.notification.three_ds_operation
        parse_operation(arrival.fields, operation)
        arrival.notification.card_id = arrival.subject_id
        arrival.notification.consumer_id = operation.consumer_id
        await self._log.append(arrival.event(EventKind.THREE_DS_OPERATION, operation))
        return empty_response(d1.THREE_DS_NOTIFICATION_STATUS)


class ConsumerNotifications:
    """Appends consumer notifications to the event log."""

    def __init__(self, issuers: Container[str], log: Appendable) -> None:
        self._issuers = issuers
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post(d1.CONSUMER_NOTIFICATION_PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Respond with 204 once the notification is on disk; a duplicate also gets 204 and is not stored again.

        Raises:
            HttpError: 404 for an unknown issuer; 400 or 415 for a malformed notification.
            FieldError: The operation's id, name or status is missing or malformed.
            GatewayError: EVENT_LOG_UNAVAILABLE; nothing was stored, and D1 sends it again.
        """
        arrival = await _receive(request, self._issuers, "consumerId", CONSUMER_ID)
        operation = arrival.notification.consumer_operation
        parse_consumer_operation(arrival.fields, operation)
        arrival.notification.consumer_id = arrival.subject_id
        await self._log.append(arrival.event(EventKind.CONSUMER_OPERATION, operation))
        return empty_response(d1.CONSUMER_NOTIFICATION_STATUS)


class _Arrival(NamedTuple):
    """A received notification, before its operation is parsed."""

    subject_id: str
    """Id in the path: the card or the consumer."""
    fields: Fields
    """Fields of the operation."""
    notification: Notification
    """Message to complete with the operation and the ids of its subject."""
    receive_time_ms: int
    """Time of receipt, in milliseconds since 1970 (UTC)."""

    def event(self, kind: EventKind, operation: ThreeDSOperation | ConsumerOperation) -> Event:
        """Return the event for the log; the notification must be complete."""
        return Event(
            issuer_id=self.notification.issuer_id,
            kind=kind,
            subject_id=self.subject_id,
            operation_id=operation.operation_id,
            consumer_id=self.notification.consumer_id,
            operation_type=operation.type,
            status=operation.status,
            receive_time_ms=self.receive_time_ms,
            payload=self.notification.SerializeToString(),
            state=state_text(operation),
        )


async def _receive(request: web.Request, issuers: Container[str], subject: str, form: re.Pattern[str]) -> _Arrival:
    issuer_id = issuer_in_path(request, issuers)
    subject_id = id_in_path(request, subject, form)
    fields = await read_fields(request)
    receive_time_ns = time.time_ns()
    notification = Notification(issuer_id=issuer_id, correlation_id=correlation.current())
    # Equivalent to FromNanoseconds, at a third of its cost.
    notification.receive_time.seconds, notification.receive_time.nanos = divmod(receive_time_ns, 1_000_000_000)
    return _Arrival(subject_id, fields, notification, receive_time_ns // 1_000_000)
