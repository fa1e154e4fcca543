"""What all notifications have in common: parsed once, serialised once, on disk before they are answered."""

import re
import time
from typing import NamedTuple, TypeAlias

from aiohttp import web

from adapters.d1.callbacks.fields import Fields
from adapters.d1.callbacks.parsing import read_json
from adapters.d1.callbacks.path import id_in_path, issuer_in_path
from gateway.auth.issuers import Issuers
from gateway.logging import correlation
from gateway.ports import Event
from issuer.consumer.v1.operation_pb2 import ConsumerOperation
from issuer.notification.v1.messages_pb2 import Notification, NotificationKind
from issuer.threeds.v1.operation_pb2 import Operation

__all__ = ["Arrival", "receive"]

_Kind: TypeAlias = "NotificationKind.ValueType"


class Arrival(NamedTuple):
    """A notification that has come in, before its operation is read."""

    subject_id: str
    """The id in the path: what it is about."""
    fields: Fields
    """The operation."""
    notification: Notification
    """Where the operation and the ids of its subject go."""
    receive_time_ms: int
    """When it was taken, in milliseconds since 1970 (UTC)."""

    def event(self, kind: _Kind, operation: Operation | ConsumerOperation) -> Event:
        """Make the log's event, once the notification is complete."""
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
        )


async def receive(request: web.Request, issuers: Issuers, subject: str, form: re.Pattern[str]) -> Arrival:
    """Take in a notification.

    Args:
        request: What D1 sent.
        issuers: Whose notifications are taken.
        subject: The name of its subject's id in the path.
        form: What such an id looks like.

    Raises:
        Refusal: 404 for an unknown issuer; 400, 415 for a malformed id, or what is no JSON object.
    """
    issuer_id = issuer_in_path(request, issuers)
    subject_id = id_in_path(request, subject, form)
    fields = await read_json(request)
    receive_time_ns = time.time_ns()
    taken = Notification(issuer_id=issuer_id, correlation_id=correlation.current())
    # As FromNanoseconds would, at a third of its cost.
    taken.receive_time.seconds, taken.receive_time.nanos = divmod(receive_time_ns, 1_000_000_000)
    return Arrival(subject_id, fields, taken, receive_time_ns // 1_000_000)
