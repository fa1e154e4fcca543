"""The notification of an operation on a consumer (D1 API: outbound consumer API)."""

from aiohttp import web

from adapters.d1.callbacks import schema as d1
from adapters.d1.callbacks.fields import CONSUMER_ID
from adapters.d1.callbacks.notifications import receive
from adapters.d1.callbacks.operations import parse_consumer_operation
from gateway.auth.issuers import Issuers
from gateway.edge.responses import empty_response
from gateway.ports import Appendable
from issuer.notification.v1.messages_pb2 import NOTIFICATION_KIND_CONSUMER_OPERATION

__all__ = ["ConsumerNotifications"]


class ConsumerNotifications:
    """Takes consumer notifications into the log."""

    def __init__(self, issuers: Issuers, log: Appendable) -> None:
        self._issuers = issuers
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        """See `gateway.edge.server.Callbacks`."""
        return [web.post(d1.CONSUMER_NOTIFICATION_PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Answer 204 once the notification is on disk; a duplicate is answered 204 and not stored again.

        Raises:
            Refusal: 404 for an unknown issuer, 400, 415 for what is no notification.
            FieldError: The operation's id, name or status is missing or malformed, or a field nests too deep.
            GatewayError: EVENT_LOG_UNAVAILABLE; nothing was stored, D1 sends it again.
        """
        arrival = await receive(request, self._issuers, "consumerId", CONSUMER_ID)
        operation = arrival.notification.consumer_operation
        parse_consumer_operation(arrival.fields, operation)
        arrival.notification.consumer_id = arrival.subject_id
        await self._log.append(arrival.event(NOTIFICATION_KIND_CONSUMER_OPERATION, operation))
        return empty_response(d1.CONSUMER_NOTIFICATION_STATUS)
