"""Builds `WatchNotificationsResponse` out of stored bytes, without parsing or serialising a notification again.

A serialised message may have its fields in any order and in any number of pieces (protobuf encoding, "Field order" and
"Last one wins"), so a notification's cursor is appended to its stored bytes, and a batch is its entries one after the
other.
"""

from collections.abc import Iterable
from functools import lru_cache

from gateway.notifications import cursor
from gateway.ports import StoredEvent
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["batch", "standing"]

_LENGTH_DELIMITED = 2


def _tag(message: type[notification.Notification] | type[notification.WatchNotificationsResponse], field: str) -> bytes:
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


# The lengths of notifications are much the same.
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


def standing(role: "notification.WatcherRole.ValueType", fence: int = 0) -> bytes:
    """Return the part of a batch that is the same in all batches of a watcher, from one take-over to the next.

    Args:
        role: Whether the watcher receives or stands by.
        fence: The fence of a named subscription's active watcher.
    """
    return notification.WatchNotificationsResponse(role=role, fence=fence).SerializeToString()


def batch(log_id: str, events: Iterable[StoredEvent], after: int, stands: bytes) -> bytes:
    """Return the serialised `WatchNotificationsResponse`.

    Args:
        log_id: The log that the events come from.
        events: The events of the batch; none for a heartbeat.
        after: The sequence that the batch's cursor stands for.
        stands: How its watcher stands, as `standing` has it.
    """
    parts: list[bytes] = []
    for stored in events:
        place = cursor.encode(log_id, stored.sequence).encode()
        payload = stored.event.payload
        tail = _NOTIFICATION_CURSOR + _varint(len(place)) + place
        parts += (_BATCH_NOTIFICATION, _varint(len(payload) + len(tail)), payload, tail)
    place = cursor.encode(log_id, after).encode()
    parts += (_BATCH_CURSOR, _varint(len(place)), place, stands)
    return b"".join(parts)
