"""Builds `WatchNotificationsResponse` from stored bytes, without parsing or serialising a notification again.

A serialised message may have its fields in any order and in any number of pieces (protobuf encoding, "Field order" and
"Last one wins"). So a notification's cursor is appended to its stored bytes, and a batch is a concatenation of entries.
"""

from collections.abc import Iterable
from functools import lru_cache

from gateway.notifications import cursor
from gateway.ports import StoredEvent
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["batch", "watcher_fields"]

_LENGTH_DELIMITED = 2


def _tag(message: type[notification.Notification] | type[notification.WatchNotificationsResponse], field: str) -> bytes:
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


# Cached because most notifications are of similar lengths.
@lru_cache(maxsize=1024)
def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 (seven bits a byte, protobuf encoding, "Base 128 varints")
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_NOTIFICATION_CURSOR = _tag(notification.Notification, "cursor")
_BATCH_NOTIFICATION = _tag(notification.WatchNotificationsResponse, "notifications")
_BATCH_CURSOR = _tag(notification.WatchNotificationsResponse, "cursor")


def watcher_fields(role: "notification.WatcherRole.ValueType", fencing_token: int = 0) -> bytes:
    """Return the serialised fields that all batches of a watcher share until the next take-over.

    Args:
        role: Active or standby.
        fencing_token: The fencing token of a named subscription's active watcher.
    """
    return notification.WatchNotificationsResponse(role=role, fencing_token=fencing_token).SerializeToString()


def batch(log_id: str, events: Iterable[StoredEvent], after: int, fields: bytes) -> bytes:
    """Return the serialised `WatchNotificationsResponse`.

    Args:
        log_id: The id of the events' log.
        events: The events of the batch; none for a heartbeat.
        after: The sequence for the batch's cursor.
        fields: The result of `watcher_fields`.
    """
    parts: list[bytes] = []
    prefix = cursor.prefix(log_id)
    length, tag, tail_length = 0, b"", 0
    for sequence, event in events:
        # As `cursor.encode`, whose call would take a fifth of all this.
        position, payload = f"{prefix}{sequence}".encode(), event.payload
        if len(position) != length:
            length = len(position)
            tag = _NOTIFICATION_CURSOR + _varint(length)
            tail_length = len(tag) + length
        parts += (_BATCH_NOTIFICATION, _varint(len(payload) + tail_length), payload, tag, position)
    position = cursor.encode(log_id, after).encode()
    parts += (_BATCH_CURSOR, _varint(len(position)), position, fields)
    return b"".join(parts)
