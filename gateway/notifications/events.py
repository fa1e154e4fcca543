"""The event of a notification: what the event log keeps beside its bytes."""

from hashlib import sha256

import orjson

from gateway.ports import Event, EventKind
from issuer.consumer.v1.operation_pb2 import ConsumerOperation
from issuer.notification.v1.messages_pb2 import Notification
from issuer.threeds.v1.operation_pb2 import ThreeDSOperation

__all__ = ["event_of", "is_unread", "state_text"]


def event_of(notification: Notification, received_ns: int) -> Event:
    """Return the event of a notification that is complete but for its time of receipt, which is set.

    Args:
        notification: The notification of one operation: on a card if it has a `card_id`, else on a consumer.
        received_ns: Time of receipt, or of the fetch of a recovered one, in nanoseconds since 1970 (UTC).
    """
    # Equivalent to FromNanoseconds, at a third of its cost.
    notification.receive_time.seconds, notification.receive_time.nanos = divmod(received_ns, 1_000_000_000)
    operation: ThreeDSOperation | ConsumerOperation
    if notification.card_id:
        kind, subject_id, operation = (
            EventKind.THREE_DS_OPERATION,
            notification.card_id,
            notification.three_ds_operation,
        )
    else:
        kind, subject_id = EventKind.CONSUMER_OPERATION, notification.consumer_id
        operation = notification.consumer_operation
    return Event(
        issuer_id=notification.issuer_id,
        kind=kind,
        subject_id=subject_id,
        operation_id=operation.operation_id,
        consumer_id=notification.consumer_id,
        operation_type=operation.type,
        status=operation.status,
        receive_time_ms=received_ns // 1_000_000,
        payload=notification.SerializeToString(),
        state=state_text(operation),
    )


def state_text(operation: ThreeDSOperation | ConsumerOperation) -> str:
    """Return what tells the operation's state from others.

    Nothing if type and status are known, else D1's texts of both. Where one has no text, the state cannot be told, and
    only the same content is the same: a digest of it.
    """
    if operation.type and operation.status:
        return ""
    if operation.type_text and operation.status_text:
        return orjson.dumps([operation.type_text, operation.status_text]).decode()
    return sha256(operation.SerializeToString(deterministic=True)).hexdigest()


def is_unread(event: Event) -> bool:
    """Return whether the event's state could not be told, so that its content stands for it: see `state_text`."""
    return event.state != "" and not event.state.startswith("[")
