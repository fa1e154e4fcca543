"""An event as the bytes that are kept of it: a head of fixed size, its texts, and the payload as it is."""

from struct import Struct
from struct import error as StructError  # noqa: N812  a class
from typing import Final

from adapters.nats.connection.errors import NatsError
from gateway.ports import Event

__all__ = ["pack", "unpack"]

_FORMAT: Final = 1
_HEAD: Final = Struct(">BiiiqIIII")
"""Format, kind, type, status, receive time, and the lengths of the four texts."""


def pack(event: Event) -> bytes:
    """Write an event."""
    issuer, subject, operation, consumer = (
        text.encode("utf-8", "surrogatepass")
        for text in (event.issuer_id, event.subject_id, event.operation_id, event.consumer_id)
    )
    head = _HEAD.pack(
        _FORMAT,
        event.kind,
        event.operation_type,
        event.status,
        event.receive_time_ms,
        len(issuer),
        len(subject),
        len(operation),
        len(consumer),
    )
    return b"".join((head, issuer, subject, operation, consumer, event.payload))


def unpack(content: bytes) -> Event:
    """Read an event.

    Raises:
        NatsError: It is none that this version can read.
    """
    try:
        form, kind, operation_type, status, time_ms, *lengths = _HEAD.unpack_from(content)
    except StructError:
        form = None
    if form != _FORMAT:
        raise NatsError("The stream holds something that is no event, or one of a newer version.")
    texts, start = [], _HEAD.size
    for length in lengths:
        texts.append(content[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    issuer_id, subject_id, operation_id, consumer_id = texts
    return Event(
        issuer_id, kind, subject_id, operation_id, consumer_id, operation_type, status, time_ms, content[start:]
    )
