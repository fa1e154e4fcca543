"""Builds `WatchNotificationsResponse` from stored bytes, without parsing or serialising a notification again.

A serialised message may have its fields in any order and in any number of pieces (protobuf encoding, "Field order" and
"Last one wins"). So a notification's cursor is appended to its stored bytes, and a batch is a concatenation of entries.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from gateway.notifications import cursor
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["batch", "watcher_fields"]

_LENGTH_DELIMITED = 2


def _tag(message: type[notification.Notification] | type[notification.WatchNotificationsResponse], field: str) -> bytes:
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


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


def batch(log_id: str, sequences: Sequence[int], payloads: Sequence[bytes], after: int, fields: bytes) -> bytes:
    """Return the serialised `WatchNotificationsResponse`.

    Args:
        log_id: The id of the events' log.
        sequences: The positions of the batch's events, in order; none for a heartbeat.
        payloads: Their bytes, as many.
        after: The sequence for the batch's cursor.
        fields: The result of `watcher_fields`.
    """
    parts: list[bytes] = []
    prefix = cursor.prefix(log_id).encode()
    start = 0
    while start < len(sequences):
        # Those whose cursors are of the same length. Their loops run in C: in Python they would take twice as long.
        digits = len(str(sequences[start]))
        end = bisect_left(sequences, 10**digits, start)
        before_digits = _NOTIFICATION_CURSOR + _varint(len(prefix) + digits) + prefix
        some = payloads[start:end]
        heads = map(_head, map((len(before_digits) + digits).__add__, map(len, some)))
        tails = map((before_digits.replace(b"%", b"%%") + b"%d").__mod__, sequences[start:end])
        parts += chain.from_iterable(zip(heads, some, tails, strict=True))
        start = end
    position = cursor.encode(log_id, after).encode()
    parts += (_BATCH_CURSOR, _varint(len(position)), position, fields)
    return b"".join(parts)


# Cached because most notifications are of similar lengths.
@lru_cache(maxsize=1024)
def _head(length: int) -> bytes:
    """Return what comes before a notification of a length, its cursor included."""
    return _BATCH_NOTIFICATION + _varint(length)
